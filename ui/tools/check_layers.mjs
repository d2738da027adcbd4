// Import layers of src/: base <- api, widgets <- pages <- (App, main). Also: only src/api may name
// a server path, and no {@html} anywhere. Exits 1 with one line per violation.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = resolve(dirname(fileURLToPath(import.meta.url)), '../src');
const allowed = {
  base: ['base'],
  api: ['base', 'api'],
  widgets: ['base', 'widgets'],
  pages: ['base', 'api', 'widgets', 'pages'],
  '': ['base', 'api', 'widgets', 'pages', ''],
};
const importPattern = /(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g;

function layer(file) {
  const parts = relative(source, file).split(sep);
  return parts.length > 1 ? parts[0] : '';
}

const problems = [];
for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.(ts|svelte)$/.test(entry.name)) continue;
  const file = join(entry.parentPath, entry.name);
  const name = relative(source, file);
  const text = readFileSync(file, 'utf8');
  const own = layer(file);
  for (const [, target] of text.matchAll(importPattern)) {
    const other = layer(resolve(dirname(file), target));
    if (!allowed[own]?.includes(other)) {
      problems.push(`${name}: layer "${own}" must not import ${target} (layer "${other}")`);
    }
  }
  if (own !== 'api' && /['"`]\/?(api\/v1|healthz|readyz)/.test(text)) {
    problems.push(`${name}: names a server path; only src/api may`);
  }
  if (text.includes('{@html')) problems.push(`${name}: {@html} is forbidden, render text`);
}
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
