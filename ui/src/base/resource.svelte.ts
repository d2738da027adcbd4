// A value fetched from somewhere, with its loading and error states. A newer load cancels the older
// one, so answers never arrive out of order; a failed reload keeps the value that is shown.

export class Loaded<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);
  loading = $state(false);
  private controller: AbortController | null = null;

  async load(fetcher: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.loading = true;
    try {
      const value = await fetcher(controller.signal);
      if (controller.signal.aborted) return null;
      this.value = value;
      this.error = null;
      return value;
    } catch (error) {
      if (!controller.signal.aborted) this.error = error;
      return null;
    } finally {
      if (this.controller === controller) this.loading = false;
    }
  }

  cancel(): void {
    this.controller?.abort();
    this.loading = false;
  }

  clear(): void {
    this.cancel();
    this.value = null;
    this.error = null;
  }
}
