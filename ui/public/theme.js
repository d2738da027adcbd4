// Before first paint, so that a chosen theme does not flash. A file of its own: no inline script.
try {
  const theme = localStorage.getItem('nuages.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // storage forbidden: the system's theme applies
}
