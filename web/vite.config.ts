import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { outlines } from "./outlines.plugin.mjs";

// `npm run dev` shows the page beside a running Shoal: set SHOAL_URL when it is not on the usual port.
declare const process: { env: Record<string, string | undefined> };

export default defineConfig({
  plugins: [react(), outlines()],
  base: "./",
  build: {
    outDir: "../src/shoal/api/static",
    emptyOutDir: true,
    // Nothing inline: the page runs under `script-src 'self'`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "home.html"] },
  },
  server: { proxy: { "/api": { target: process.env["SHOAL_URL"] ?? "http://127.0.0.1:8765", ws: true } } },
  test: { setupFiles: ["src/testing/setup.ts"], environment: "node" },
});
