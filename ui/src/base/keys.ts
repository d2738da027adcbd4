// Keyboard commands: one table per page, so that the help dialog and the handler cannot disagree.

export interface Binding {
  keys: string[]; // KeyboardEvent.key, "ctrl+b" for chords
  help: string;
  run: () => void;
}

export function keyName(event: KeyboardEvent): string {
  const chord = event.ctrlKey || event.metaKey ? 'ctrl+' : event.altKey ? 'alt+' : '';
  return chord + (chord ? event.key.toLowerCase() : event.key);
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/** Runs the binding of `event`; typing in a field keeps all keys but Escape and chords. */
export function dispatch(event: KeyboardEvent, bindings: Binding[]): void {
  if (event.defaultPrevented || event.isComposing) return;
  const name = keyName(event);
  if (isTyping(event.target) && name !== 'Escape' && !name.startsWith('ctrl+')) return;
  // Enter and Space belong to the focused button or link.
  const onControl =
    event.target instanceof HTMLElement && event.target.closest('button, a, summary');
  if (onControl && (name === 'Enter' || name === ' ')) return;
  const binding = bindings.find((candidate) => candidate.keys.includes(name));
  if (!binding) return;
  event.preventDefault();
  binding.run();
}
