import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// NUAGES_API points the development server at another nuages-server (or at dev/mock.mjs).
const api = process.env.NUAGES_API ?? 'http://127.0.0.1:4319';

export default defineConfig({
  plugins: [svelte()],
  // Absolute names: pages lie at several depths, and the server's policy forbids a <base>.
  base: '/',
  build: { target: ['chrome123', 'firefox128', 'safari17.5'], assetsInlineLimit: 0 },
  server: { host: '127.0.0.1', proxy: { '/api': api, '/healthz': api, '/readyz': api } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
