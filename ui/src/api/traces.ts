// The routes the pages use. Only this folder knows the server's paths and parameters.
import type { Filters } from '../base/filters';
import { RANGES } from '../base/filters';
import type { Route, ServerStatus, Service, Trace, TracePage } from '../base/model';
import { parseDurationMs } from '../base/time';
import { getJson, getText, PREFIX } from './http';

export const PAGE_SIZE = 50;

export function tracesPath(filters: Filters, nowMs: number, before: string | null = null): string {
  const query = new URLSearchParams();
  const set = (name: string, value: string) => {
    if (value !== '') query.set(name, value);
  };
  const search = filters.search.trim();
  set('service', filters.service);
  set(search.startsWith('/') ? 'route' : 'name', search);
  set('status', filters.status);
  set('http_status', filters.http_status.trim());
  set('min_duration_ms', milliseconds(filters.min));
  set('max_duration_ms', milliseconds(filters.max));
  set('kind', filters.kind);
  if (filters.n_plus_one) query.set('n_plus_one', 'true');
  const seconds = RANGES[filters.range];
  if (seconds > 0) query.set('start', `${Math.max(0, Math.floor(nowMs) - seconds * 1000)}000000`);
  query.set('limit', String(PAGE_SIZE));
  if (before !== null) query.set('before', before);
  return `/traces?${query}`;
}

function milliseconds(text: string): string {
  const value = parseDurationMs(text);
  return value === null ? '' : String(value);
}

export function getTraces(
  filters: Filters,
  before: string | null,
  signal: AbortSignal,
): Promise<TracePage> {
  return getJson(tracesPath(filters, Date.now(), before), signal);
}

export async function getServices(signal?: AbortSignal): Promise<Service[]> {
  return (await getJson<{ services: Service[] }>('/services', signal)).services;
}

export async function getRoutes(service: string, signal?: AbortSignal): Promise<Route[]> {
  const query = service === '' ? '' : `?${new URLSearchParams({ service })}`;
  return (await getJson<{ routes: Route[] }>(`/routes${query}`, signal)).routes;
}

export function getTrace(id: string, follow: boolean, signal: AbortSignal): Promise<Trace> {
  return getJson(tracePath(id, follow), signal);
}

export type Layout = 'guide' | 'full';

export function getTree(
  id: string,
  layout: Layout,
  follow: boolean,
  signal: AbortSignal,
): Promise<string> {
  return getText(treePath(id, layout, follow), signal);
}

export function getStatus(signal: AbortSignal): Promise<ServerStatus> {
  return getJson('/status', signal);
}

/** Addresses a reader may open or hand to curl. */
export function rawTraceUrl(id: string, follow: boolean): string {
  return PREFIX + tracePath(id, follow);
}

export function rawTreeUrl(id: string, layout: Layout, follow: boolean): string {
  return PREFIX + treePath(id, layout, follow);
}

function tracePath(id: string, follow: boolean): string {
  return `/traces/${encodeURIComponent(id)}${follow ? '?follow=true' : ''}`;
}

function treePath(id: string, layout: Layout, follow: boolean): string {
  return `/traces/${encodeURIComponent(id)}/tree?layout=${layout}&follow=${follow}`;
}
