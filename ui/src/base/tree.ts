// Spans -> a forest of nodes in one time frame. True parentage is kept; the root of a linked trace
// (a Celery task) hangs under the span its link names and is marked `linked`. Anything hostile in
// the data (cycles, repeated ids, chains 10,000 deep) still yields every span exactly once, and no
// function here recurses.
import type { Span, Trace } from './model';
import { earliest, offsetNs } from './time';

export interface Node {
  key: string; // trace_id:span_id
  span: Span;
  parent: Node | null;
  children: Node[];
  from: number; // ns since Forest.start
  to: number;
  linked: boolean; // root of another trace, attached here through its link
  foreign: boolean; // belongs to another trace than the one opened
  orphan: boolean; // names a parent that is not here
  descendants: number;
}

export interface Forest {
  roots: Node[];
  nodes: Map<string, Node>;
  order: Node[]; // depth first, as shown with everything expanded
  start: bigint;
  from: number; // whole extent, linked traces included
  to: number;
  own: { from: number; to: number }; // extent of the opened trace alone
}

export function nodeKey(trace_id: string, span_id: string): string {
  return `${trace_id}:${span_id}`;
}

export function buildForest(trace: Trace): Forest {
  const start = earliest(trace.spans.map((span) => span.start));
  const nodes = new Map<string, Node>();
  for (const span of trace.spans) {
    const key = nodeKey(span.trace_id, span.span_id);
    if (nodes.has(key)) continue;
    const from = offsetNs(span.start, start);
    nodes.set(key, {
      key,
      span,
      parent: null,
      children: [],
      from,
      to: from + Math.max(0, span.duration),
      linked: false,
      foreign: span.trace_id !== trace.trace_id,
      orphan: false,
      descendants: 0,
    });
  }
  for (const node of nodes.values()) {
    const { trace_id, parent_span_id } = node.span;
    if (parent_span_id === '') continue;
    const parent = nodes.get(nodeKey(trace_id, parent_span_id));
    if (parent && parent !== node) node.parent = parent;
    else node.orphan = true;
  }
  breakCycles(nodes);
  attachLinked(nodes);
  for (const node of nodes.values()) node.parent?.children.push(node);
  const byTime = (a: Node, b: Node) => a.from - b.from || b.to - a.to || (a.key < b.key ? -1 : 1);
  for (const node of nodes.values()) node.children.sort(byTime);
  const roots = [...nodes.values()].filter((node) => node.parent === null).sort(byTime);
  const order = depthFirst(roots);
  for (let index = order.length - 1; index >= 0; index--) {
    const node = order[index] as Node;
    if (node.parent) node.parent.descendants += node.descendants + 1;
  }
  const own = extent(order.filter((node) => !node.foreign));
  return { roots, nodes, order, start, ...extent(order), own };
}

function breakCycles(nodes: Map<string, Node>): void {
  const settled = new Set<Node>();
  for (const first of nodes.values()) {
    const path = new Set<Node>();
    let node: Node | null = first;
    while (node && !settled.has(node) && !path.has(node)) {
      path.add(node);
      node = node.parent;
    }
    if (node && path.has(node)) {
      node.parent = null;
      node.orphan = true;
    }
    for (const seen of path) settled.add(seen);
  }
}

function attachLinked(nodes: Map<string, Node>): void {
  for (const node of nodes.values()) {
    if (node.parent || node.orphan) continue;
    for (const link of node.span.links) {
      const target = nodes.get(nodeKey(link.trace_id, link.span_id));
      if (!target || link.trace_id === node.span.trace_id || rootOf(target) === node) continue;
      node.parent = target;
      node.linked = true;
      break;
    }
  }
}

function rootOf(node: Node): Node {
  let top = node;
  while (top.parent) top = top.parent;
  return top;
}

function depthFirst(roots: Node[]): Node[] {
  const order: Node[] = [];
  const stack = [...roots].reverse();
  for (let node = stack.pop(); node; node = stack.pop()) {
    order.push(node);
    for (let index = node.children.length - 1; index >= 0; index--) {
      stack.push(node.children[index] as Node);
    }
  }
  return order;
}

function extent(nodes: Node[]): { from: number; to: number } {
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (const node of nodes) {
    from = Math.min(from, node.from);
    to = Math.max(to, node.to);
  }
  return nodes.length > 0 ? { from, to: Math.max(to, from + 1) } : { from: 0, to: 1 };
}

export function ancestors(node: Node): Node[] {
  const result: Node[] = [];
  for (let up = node.parent; up; up = up.parent) result.push(up);
  return result;
}
