// Light, dark or the system's choice; remembered in the browser (public/theme.js applies it early).

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'nuages.theme';

function stored(): Theme {
  const value = document.documentElement.dataset.theme;
  return value === 'light' || value === 'dark' ? value : 'system';
}

class ThemeChoice {
  current = $state<Theme>(stored());

  next(): void {
    const order: Theme[] = ['system', 'light', 'dark'];
    this.set(order[(order.indexOf(this.current) + 1) % order.length] as Theme);
  }

  set(theme: Theme): void {
    this.current = theme;
    const root = document.documentElement;
    if (theme === 'system') delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // storage forbidden: the choice lasts as long as the page
    }
  }
}

export const theme = new ThemeChoice();
