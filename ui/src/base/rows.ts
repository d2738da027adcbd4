// The forest as the flat list of rows on the screen, given what is collapsed and which folds are
// open. Pure and iterative: it runs again on each keystroke over 10,000 spans.
import { type Fold, foldChildren, type Item, isFold } from './fold';
import { ancestors, type Forest, type Node } from './tree';
import { valueText } from './value';

export interface Row {
  key: string;
  node: Node; // of a fold: its first member
  fold: Fold | null;
  depth: number;
  expandable: boolean;
  expanded: boolean;
}

export interface Openness {
  collapsed: ReadonlySet<string>; // node keys, open by default
  unfolded: ReadonlySet<string>; // fold keys, closed by default
}

/** Folds are the same for the life of a forest: compute them once. */
export class FoldIndex {
  private readonly items = new Map<Node, Item[]>();
  private readonly ofMember = new Map<Node, Fold>();

  constructor(forest: Forest) {
    for (const node of forest.order) {
      if (node.children.length === 0) continue;
      const items = foldChildren(node.children);
      this.items.set(node, items);
      for (const item of items) {
        if (isFold(item)) for (const member of item.nodes) this.ofMember.set(member, item);
      }
    }
  }

  children(node: Node): Item[] {
    return this.items.get(node) ?? [];
  }

  foldOf(node: Node): Fold | null {
    return this.ofMember.get(node) ?? null;
  }
}

export function visibleRows(forest: Forest, folds: FoldIndex, open: Openness): Row[] {
  const rows: Row[] = [];
  const stack: { item: Item; depth: number }[] = [];
  const push = (items: Item[], depth: number) => {
    for (let index = items.length - 1; index >= 0; index--) {
      stack.push({ item: items[index] as Item, depth });
    }
  };
  push(forest.roots, 0);
  for (let entry = stack.pop(); entry; entry = stack.pop()) {
    const { item, depth } = entry;
    if (isFold(item)) {
      const expanded = open.unfolded.has(item.key);
      const node = item.nodes[0] as Node;
      rows.push({ key: item.key, node, fold: item, depth, expandable: true, expanded });
      if (expanded) push(item.nodes, depth + 1);
      continue;
    }
    const expandable = item.children.length > 0;
    const expanded = expandable && !open.collapsed.has(item.key);
    rows.push({ key: item.key, node: item, fold: null, depth, expandable, expanded });
    if (expanded) push(folds.children(item), depth + 1);
  }
  return rows;
}

/** What must open for `node` to have a row. */
export function reveal(node: Node, folds: FoldIndex, open: Openness): Openness {
  const collapsed = new Set(open.collapsed);
  for (const above of ancestors(node)) collapsed.delete(above.key);
  const fold = folds.foldOf(node);
  const unfolded = fold ? new Set(open.unfolded).add(fold.key) : open.unfolded;
  return { collapsed, unfolded };
}

export function collapseAll(forest: Forest): Openness {
  const collapsed = forest.order.filter((node) => node.children.length > 0).map((node) => node.key);
  return { collapsed: new Set(collapsed), unfolded: new Set() };
}

export function expandAll(forest: Forest, folds: FoldIndex): Openness {
  const unfolded = new Set<string>();
  for (const node of forest.order) {
    const fold = folds.foldOf(node);
    if (fold) unfolded.add(fold.key);
  }
  return { collapsed: new Set(), unfolded };
}

const texts = new WeakMap<Node, string>();

function searchText(node: Node): string {
  let text = texts.get(node);
  if (text === undefined) {
    const { span } = node;
    const parts = [span.name, span.label, span.service, span.kind, span.status_message];
    for (const [name, value] of Object.entries(span.attributes))
      parts.push(`${name}=${valueText(value)}`);
    for (const event of span.events) {
      parts.push(event.name);
      for (const value of Object.values(event.attributes)) parts.push(valueText(value));
    }
    text = parts.join('\n').toLowerCase();
    texts.set(node, text);
  }
  return text;
}

/**
 * Nodes whose name, statement, attributes or events hold every word of `needle`. A span id counts
 * only as a whole: a part of one is in some random id far too often.
 */
export function find(forest: Forest, needle: string): Node[] {
  const words = needle.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  return forest.order.filter((node) =>
    words.every((word) => word === node.span.span_id || searchText(node).includes(word)),
  );
}
