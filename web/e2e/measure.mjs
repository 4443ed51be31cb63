/**
 * Measures a running page as a browser feels it, and prints one JSON object.
 *
 *   node measure.mjs URL [--loads 3] [--seconds 20] [--reconnects 1000]
 *
 * `transfer_kb`: what the first load takes over the wire as files and first answers, the map's included (what is asked anew later is not the load); `snapshot_kb`: what the socket says meanwhile; `tti_ms`: from the address to figures that are live and a main thread without long tasks,
 * the median of the loads, `tti_ms_4x` with the processor slowed down four times; `frame_p99_ms`: between two frames while the page streams;
 * `receipt_to_pixel_p95_ms`: from a message on the socket to the frame that shows it; `heap_growth_mb`: over that time and the reconnections, after
 * collecting garbage; `pan_fps`: frames a second while the map is dragged, null without a map.
 */
import { parseArgs } from "node:util";
import { startBrowser } from "./browser.mjs";

const DESKTOP = { width: 1440, height: 900 };
const LIVE = '[data-testid="connection"][data-presence="live"]';
const MAP = '[data-testid="map"] canvas';
const SETTLE_MS = 500;
const IDLE_MS = 1_500;
const LATEST_MS = 10_000;
const LONGEST_MS = 60_000;

/** Runs in the page before anything else: notes when it is ready, its long tasks, and from message to picture. */
function instrument() {
  const seen = { shownMs: null, tasks: [], drawn: [], frames: null, sockets: [] };
  window.seen = seen;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) seen.tasks.push([one.startTime, one.duration]);
  }).observe({ type: "longtask", buffered: true });
  const look = () => {
    const live = document.querySelector('[data-testid="connection"]')?.getAttribute("data-presence") === "live";
    if (live && document.querySelector('[data-testid="sentence"]')) seen.shownMs = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...rest) {
      super(...rest);
      seen.sockets.push(this);
      this.addEventListener("message", () => {
        const began = performance.now();
        // A task that is posted within a frame runs after that frame is painted.
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => seen.drawn.push(performance.now() - began);
          port2.postMessage(null);
        });
      });
    }
  };
}

const share = (values, frac) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(frac * sorted.length))];
};

async function opened(browser, url, rate) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-US", colorScheme: "light" });
  await context.addInitScript(instrument);
  const page = await context.newPage();
  const tools = await context.newCDPSession(page);
  await tools.send("Network.enable");
  const taken = { bytes: 0, said: 0, atMs: 0 };
  const [asked, first] = [new Set(), new Set()];
  tools.on("Network.requestWillBeSent", (one) => {
    const { pathname } = new URL(one.request.url);
    if (!asked.has(pathname)) first.add(one.requestId);
    asked.add(pathname);
  });
  tools.on("Network.loadingFinished", (one) => {
    if (!first.has(one.requestId)) return;
    taken.bytes += one.encodedDataLength;
    taken.atMs = performance.now();
  });
  tools.on("Network.webSocketFrameReceived", (one) => {
    taken.said += Buffer.byteLength(one.response.payloadData);
  });
  if (rate > 1) await tools.send("Emulation.setCPUThrottlingRate", { rate });
  await page.goto(url, { timeout: LONGEST_MS });
  await page.waitForFunction(() => window.seen.shownMs !== null, undefined, { timeout: LONGEST_MS });
  const ready = await page.waitForFunction((quiet) => {
    const { shownMs, tasks } = window.seen;
    const ends = tasks.map(([start, took]) => start + took);
    const at = Math.max(shownMs, ...ends);
    return performance.now() - at > quiet ? at : false;
  }, SETTLE_MS, { timeout: LONGEST_MS, polling: 50 });
  return { context, page, tools, ttiMs: await ready.jsonValue(), taken };
}

async function loads(browser, url, count, rate) {
  const found = [];
  let all = null;
  for (let i = 0; i < count; i += 1) {
    const { context, ttiMs, taken } = await opened(browser, url, rate);
    found.push(ttiMs);
    // What comes by itself once the figures stand belongs to the first load too.
    const until = performance.now() + LATEST_MS;
    while (performance.now() - taken.atMs < IDLE_MS && performance.now() < until) await new Promise((wake) => setTimeout(wake, 50));
    all = { ...taken };
    await context.close();
  }
  return { ttiMs: share(found, 0.5), ...all };
}

/** The times between frames over so many seconds, in ms. */
const frames = (page, seconds) =>
  page.evaluate((ms) => new Promise((done) => {
    const times = [];
    const began = performance.now();
    let last = began;
    const step = () => {
      const now = performance.now();
      times.push(now - last);
      last = now;
      if (now - began < ms) requestAnimationFrame(step);
      else done(times.slice(1));
    };
    requestAnimationFrame(step);
  }), seconds * 1000);

async function heapBytes(tools) {
  await tools.send("HeapProfiler.collectGarbage");
  return (await tools.send("Runtime.getHeapUsage")).usedSize;
}

async function reconnect(page, times) {
  for (let i = 0; i < times; i += 1) {
    await page.evaluate(() => {
      const { sockets } = window.seen;
      window.seen.sockets = [];
      sockets.at(-1).close();
    });
    await page.waitForFunction(() => window.seen.sockets.length > 0, undefined, { timeout: LONGEST_MS, polling: 20 });
    await page.waitForSelector(LIVE, { timeout: LONGEST_MS });
  }
}

async function panFps(page) {
  const map = page.locator(MAP).first();
  if ((await map.count()) === 0) return null;
  await map.scrollIntoViewIfNeeded();
  const box = await map.boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  const watched = frames(page, 3);
  for (let i = 0; i < 150; i += 1) await page.mouse.move(x + 120 * Math.sin(i / 10), y + 60 * Math.cos(i / 10));
  await page.mouse.up();
  const times = await watched;
  return 1000 / (times.reduce((sum, one) => sum + one, 0) / times.length);
}

async function measure(url, { loads: count, seconds, reconnects }) {
  const browser = await startBrowser();
  try {
    const plain = await loads(browser, url, count, 1);
    const slow = await loads(browser, url, count, 4);
    const { page, tools } = await opened(browser, url, 1);
    await reconnect(page, Math.min(5, reconnects));
    const before = await heapBytes(tools);
    await page.evaluate(() => {
      window.seen.drawn = [];
    });
    const times = await frames(page, seconds);
    const drawn = await page.evaluate(() => window.seen.drawn.splice(0));
    const pan = await panFps(page);
    await reconnect(page, reconnects);
    await page.evaluate(() => {
      window.seen.drawn = [];
      window.seen.tasks = [];
    });
    const after = await heapBytes(tools);
    return {
      transfer_kb: plain.bytes / 1000, snapshot_kb: plain.said / 1000, tti_ms: plain.ttiMs, tti_ms_4x: slow.ttiMs, frame_p99_ms: share(times, 0.99), frames: times.length,
      receipt_to_pixel_p95_ms: share(drawn, 0.95), messages: drawn.length, pan_fps: pan, heap_growth_mb: (after - before) / 1e6, reconnects,
    };
  } finally {
    await browser.close();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { loads: { type: "string", default: "3" }, seconds: { type: "string", default: "20" }, reconnects: { type: "string", default: "1000" } },
});
const numbers = { loads: Number(values.loads), seconds: Number(values.seconds), reconnects: Number(values.reconnects) };
process.stdout.write(`${JSON.stringify(await measure(positionals[0], numbers))}\n`);
