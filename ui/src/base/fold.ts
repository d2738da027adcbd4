// Repeated siblings folded into one row: 25 equal queries under one view become "x25". Only leaves
// fold (a leaf hides nothing below it), and equality is the database's fingerprint where the agent
// sent one, else statement or name. They need not be adjacent: a loop with two queries alternates.
// Runs of middleware hooks fold too, so that a request begins with its view.
import { category } from './category';
import type { Node } from './tree';

export const FOLD_FROM = 4;
const MIDDLEWARE_FROM = 3;

export interface Fold {
  key: string;
  title: string; // empty: as its spans
  nodes: Node[];
  from: number;
  to: number;
  total: number; // sum of durations
  errors: number;
}

export type Item = Node | Fold;

export function isFold(item: Item): item is Fold {
  return 'nodes' in item;
}

function repeatKey(node: Node): string {
  const { attributes, kind, service, name, label } = node.span;
  const alias = attributes['nuages.db.alias'] ?? attributes['db.name'] ?? '';
  const what =
    attributes['nuages.db.fingerprint'] ??
    attributes['db.statement'] ??
    attributes['db.query.text'];
  return [kind, service, String(alias), label || name, String(what ?? '')].join('\u0000');
}

function fold(nodes: Node[], title: string): Fold {
  const first = nodes[0] as Node;
  return {
    key: `fold:${first.key}`,
    title,
    nodes,
    from: first.from,
    to: nodes.reduce((end, node) => Math.max(end, node.to), first.to),
    total: nodes.reduce((sum, node) => sum + node.span.duration, 0),
    errors: nodes.filter((node) => node.span.status === 'error').length,
  };
}

/** Neighbouring middleware leaves. */
function middlewareRuns(children: Node[]): Node[][] {
  const runs: Node[][] = [];
  let run: Node[] = [];
  for (const node of children) {
    if (node.children.length === 0 && category(node.span) === 'middleware') {
      if (run.length === 0) runs.push(run);
      run.push(node);
    } else run = [];
  }
  return runs.filter((nodes) => nodes.length >= MIDDLEWARE_FROM);
}

/** Children in order; each group of at least `from` equal leaves stands where its first one was. */
export function foldChildren(children: Node[], from = FOLD_FROM): Item[] {
  if (children.length < Math.min(from, MIDDLEWARE_FROM)) return children;
  const folds = new Map<Node, Fold | null>(); // first member -> its fold, other members -> null
  const add = (nodes: Node[], title: string) => {
    for (const node of nodes) folds.set(node, null);
    folds.set(nodes[0] as Node, fold(nodes, title));
  };
  for (const run of middlewareRuns(children)) add(run, 'Middleware');
  const groups = new Map<string, Node[]>();
  for (const node of children) {
    if (node.children.length > 0 || folds.has(node)) continue;
    const key = repeatKey(node);
    const group = groups.get(key);
    if (group) group.push(node);
    else groups.set(key, [node]);
  }
  for (const nodes of groups.values()) if (nodes.length >= from) add(nodes, '');
  const items: Item[] = [];
  for (const node of children) {
    const own = folds.get(node);
    if (own === undefined) items.push(node);
    else if (own !== null) items.push(own);
  }
  return items;
}

/** Merges bars closer than `gap` so that 10,000 ticks draw as a few hundred shapes. */
export function mergeTicks(
  nodes: { from: number; to: number }[],
  gap: number,
): { from: number; to: number }[] {
  const sorted = [...nodes].sort((a, b) => a.from - b.from);
  const merged: { from: number; to: number }[] = [];
  for (const node of sorted) {
    const last = merged[merged.length - 1];
    if (last && node.from - last.to <= gap) last.to = Math.max(last.to, node.to);
    else merged.push({ from: node.from, to: node.to });
  }
  return merged;
}
