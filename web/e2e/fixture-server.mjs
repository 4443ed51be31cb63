/**
 * A test tool: serves the built page with made-up, plausible state, so that the page can be looked at without a plant.
 *
 *   node fixture-server.mjs [--port 0] [--static DIR] [--scene usual|empty|trouble|finished] [--speed 60] [--every 1000]
 *
 * Prints `http://127.0.0.1:PORT/` on its first line. It speaks the same protocol as `/api/live`, under the same strict
 * content security policy, and answers 404 for what is missing. `--gap-after N` leaves out one sequence number.
 */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createGzip } from "node:zlib";
import { WebSocketServer } from "ws";

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    static: { type: "string", default: resolve(here, "../../src/shoal/api/static") },
    scene: { type: "string", default: "usual" },
    speed: { type: "string", default: "60" },
    every: { type: "string", default: "1000" },
    "gap-after": { type: "string", default: "0" },
  },
});

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; connect-src 'self'; " +
  "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const HOUR = 3_600_000;
const MINUTE = 60_000;
const FROM_MS = Date.parse("2021-02-08T06:00:00Z"); // local midnight in the market's zone
const ZONE = "America/Chicago";
const SPEED = Number(options.speed);

// A small generator with a seed: two runs of this server tell the same story.
const noise = (n) => {
  const x = Math.sin(n * 12.9898) * 43758.5453;
  return x - Math.floor(x);
};
const floorTo = (ms, step) => Math.floor(ms / step) * step;
const dateOf = (ms) => new Date(ms - 6 * HOUR).toISOString().slice(0, 10);
const hourOfDay = (ms) => (((ms / HOUR - 6) % 24) + 24) % 24;

function priceAt(ms, point) {
  const h = hourOfDay(ms);
  const evening = 55 * Math.exp(-((h - 18.5) ** 2) / 5);
  const morning = 28 * Math.exp(-((h - 7.5) ** 2) / 3);
  const noon = -24 * Math.exp(-((h - 13) ** 2) / 9);
  const local = point === "HB_WEST" ? -6 + 8 * (noise(ms / HOUR + 7) - 0.5) : 0;
  return Math.round((24 + evening + morning + noon + local + 9 * (noise(ms / HOUR) - 0.5)) * 100) / 100;
}

const RESOURCES = [
  { id: "big-battery", name: "Big battery", sites: 1, kw: 10_000, kwh: 20_000, point: "HB_NORTH" },
  { id: "homes", name: "Homes", sites: 1000, kw: 4_600, kwh: 12_800, point: "HB_WEST" },
];

/** Energy awarded in an hour, load-positive MWh. */
function awardAt(ms, resource) {
  const h = Math.floor(hourOfDay(ms));
  const full = resource.kw / 1000;
  if (h === 12 || h === 13 || h === 14) return (full * 2) / 3;
  if (h === 17) return -full * 0.45;
  if (h === 18 || h === 19) return -full * 0.72;
  if (resource.id === "homes" && (h === 7 || h === 2)) return h === 7 ? -full * 0.2 : full * 0.22;
  return 0;
}

function deliveredShare(ms, resource) {
  return resource.id === "homes" ? 0.94 + 0.07 * noise(ms / HOUR + 3) : 0.998;
}

function batteryAt(ms, resource) {
  const award = awardAt(ms, resource) * 1000;
  return award === 0 ? 0 : award * deliveredShare(ms, resource) * (1 + 0.02 * (noise(ms / 5000) - 0.5));
}

function solarAt(ms) {
  const h = hourOfDay(ms);
  return h < 7 || h > 18.2 ? 0 : -3900 * Math.sin(((h - 7) / 11.2) * Math.PI) ** 1.4 * (0.93 + 0.07 * noise(floorTo(ms, 5 * MINUTE)));
}

function loadAt(ms) {
  const h = hourOfDay(ms);
  return 900 + 700 * Math.exp(-((h - 7.5) ** 2) / 4) + 1300 * Math.exp(-((h - 19) ** 2) / 8) + 60 * noise(ms / 60_000);
}

function socAt(ms, resource) {
  const midnight = floorTo(ms - 6 * HOUR, 24 * HOUR) + 6 * HOUR;
  let energy = resource.kwh * 0.35;
  for (let t = midnight; t < ms; t += HOUR) {
    energy += awardAt(t, resource) * 1000 * deliveredShare(t, resource) * Math.min(1, (ms - t) / HOUR) * (awardAt(t, resource) > 0 ? 0.94 : 1);
  }
  return Math.min(0.98, Math.max(0.05, energy / resource.kwh));
}

function coverage(ms) {
  const trouble = options.scene === "trouble";
  const silent = trouble ? 320 : 18 + Math.floor(14 * noise(floorTo(ms, 2 * MINUTE)));
  const stale = Math.floor(silent * 0.6);
  const suspect = Math.floor(silent * 0.15);
  return { fresh: 1001 - silent, stale, suspect, unknown: silent - stale - suspect };
}

function point(ms) {
  const battery = RESOURCES.reduce((sum, one) => sum + batteryAt(ms, one), 0);
  const doubt = options.scene === "trouble" ? 1500 : 90 + 40 * noise(ms / 60_000);
  // What the fresh sites say lacks the silent ones' share.
  const reported = battery * (coverage(ms).fresh / 1001);
  return {
    t_ms: ms,
    battery_kw: reported,
    expected_kw: battery,
    low_kw: battery - 0.8 * doubt,
    high_kw: battery + 1.2 * doubt,
    solar_kw: solarAt(ms),
    load_kw: loadAt(ms),
    soc_frac: RESOURCES.reduce((sum, one) => sum + socAt(ms, one) * one.kwh, 0) / 32_800,
    coverage_kw_frac: 1 - (1001 - coverage(ms).fresh) * (4600 / 1000 / 14_600),
  };
}

function columns(points) {
  const names = ["t_ms", "battery_kw", "expected_kw", "low_kw", "high_kw", "solar_kw", "load_kw", "soc_frac", "coverage_kw_frac"];
  return Object.fromEntries(names.map((name) => [name, points.map((one) => one[name])]));
}

function series(now) {
  const points = [];
  for (let t = Math.max(FROM_MS, now - 24 * HOUR); t <= now; t += 2 * MINUTE) {
    // Between two and half past three in the morning nothing was received.
    if (hourOfDay(t) >= 2 && hourOfDay(t) < 3.5) continue;
    points.push(point(t));
  }
  return columns(points);
}

function fleet(now) {
  const { fresh, stale, unknown, suspect } = coverage(now);
  const one = point(now);
  const grid = one.expected_kw + one.solar_kw + one.load_kw + 210;
  const doubt = one.high_kw - one.low_kw;
  const [give, take] = [14_600 + one.battery_kw, 14_600 - one.battery_kw];
  return {
    sites: 1001, fresh, stale, unknown, suspect, capacity_kw: 14_600,
    coverage_count_frac: fresh / 1001, coverage_kw_frac: one.coverage_kw_frac, oldest_age_s: 95 + 30 * noise(now / 7000),
    battery_kw: one.battery_kw, battery_expected_kw: one.expected_kw, battery_low_kw: one.low_kw, battery_high_kw: one.high_kw,
    solar_kw: one.solar_kw, load_kw: one.load_kw, ev_kw: 210,
    grid_kw: one.battery_kw + one.solar_kw + one.load_kw + 210, grid_expected_kw: grid, grid_low_kw: grid - 0.9 * doubt, grid_high_kw: grid + 0.9 * doubt,
    energy_kwh: one.soc_frac * 32_800, energy_capacity_kwh: 32_800, soc_frac: one.soc_frac,
    charge_headroom_kw: take, discharge_headroom_kw: give, firm_charge_kw: take - doubt / 2, firm_discharge_kw: give - doubt / 2,
  };
}

function twins(now) {
  const trouble = options.scene === "trouble";
  return { applied: Math.floor((now - FROM_MS) / 60), lag: trouble ? 4200 : Math.floor(3 * noise(now)), shards: 4, live_shards: trouble ? 3 : 4 };
}

function resources(now) {
  const hour = floorTo(now, HOUR);
  return RESOURCES.map((one) => {
    const award = awardAt(hour, one);
    const part = (now - hour) / HOUR;
    const measured = batteryAt(now, one);
    let [total, done, revenue] = [0, 0, 0];
    for (let t = FROM_MS; t < hour; t += HOUR) {
      const mwh = awardAt(t, one);
      total += Math.abs(mwh);
      done += Math.abs(mwh) * Math.min(1, deliveredShare(t, one));
      revenue -= mwh * priceAt(t, one.point);
    }
    const short = options.scene === "trouble" && one.id === "homes" ? 900 : 0;
    return {
      resource_id: one.id, name: one.name, market_id: "ercot-dam", settlement_point: one.point,
      sites: one.sites, fresh_sites: one.sites === 1 ? 1 : coverage(now).fresh - 1,
      measured_kw: measured, target_kw: award * 1000, shortfall_kw: short,
      energy_kwh: socAt(now, one) * one.kwh, energy_capacity_kwh: one.kwh, soc_frac: socAt(now, one),
      coverage_kw_frac: one.sites === 1 ? 1 : (coverage(now).fresh - 1) / 1000,
      hour_start_ms: hour, hour_end_ms: hour + HOUR, award_mwh: award, delivered_mwh: award * part * deliveredShare(hour, one),
      revenue, award_total_mwh: total, delivered_total_mwh: done, delivered_share: total > 0 ? done / total : null,
    };
  });
}

// Two trees: weather zones of four levels with over a thousand groups, and a grid of eight levels.
const ZONES = ["North", "West", "South", "Houston"];
const TREE = new Map();

function plantGroup(group_id, hierarchy_id, parent_id, name, share) {
  const level = parent_id === null ? 0 : TREE.get(parent_id).level + 1;
  TREE.set(group_id, { group_id, hierarchy_id, parent_id, name, level, share, below: [] });
  if (parent_id !== null) TREE.get(parent_id).below.push(group_id);
}

plantGroup("all", "weather-zones", null, "All of ERCOT", 1);
for (const zone of ZONES) {
  plantGroup(zone.toLowerCase(), "weather-zones", "all", zone, 1 / 4);
  for (let c = 1; c <= 9; c += 1) {
    const county = `${zone.toLowerCase()}-c${c}`;
    plantGroup(county, "weather-zones", zone.toLowerCase(), `${zone} county ${c}`, 1 / 36);
    for (let f = 1; f <= 60; f += 1) plantGroup(`${county}-f${f}`, "weather-zones", county, `${zone} feeder ${c}.${String(f).padStart(2, "0")}`, 1 / 2160);
  }
}
plantGroup("grid-1", "grid", null, "Transmission area", 1);
let lowest = "grid-1";
for (let level = 1; level < 8; level += 1) {
  const name = ["Region", "Utility", "Substation", "Transformer bank", "Feeder", "Lateral", "Service transformer"][level - 1];
  for (const side of ["A", "B"]) plantGroup(`grid-${level + 1}${side}`, "grid", lowest, `${name} ${side}`, 1 / 2 ** level);
  lowest = `grid-${level + 1}A`;
}

function group({ below, share, ...facts }, now) {
  const whole = fleet(now);
  const n = facts.group_id.length + facts.group_id.charCodeAt(facts.group_id.length - 1);
  const sites = Math.max(1, Math.round(1001 * share));
  const fresh = Math.max(0, sites - Math.round(sites * (1 - whole.coverage_count_frac) * (0.5 + noise(n))));
  const part = (kw) => kw * share;
  return {
    ...facts, children: below.length, sites, fresh, stale: Math.floor((sites - fresh) * 0.6), unknown: sites - fresh - Math.floor((sites - fresh) * 0.6),
    suspect: n % 7 === 0 ? 1 : 0, capacity_kw: part(14_600), coverage_count_frac: fresh / sites, coverage_kw_frac: fresh / sites,
    oldest_age_s: 20 + 90 * noise(n), battery_kw: part(whole.battery_kw), expected_kw: part(whole.battery_expected_kw), low_kw: part(whole.battery_low_kw),
    high_kw: part(whole.battery_high_kw), grid_kw: part(whole.grid_kw), grid_expected_kw: part(whole.grid_expected_kw), grid_low_kw: part(whole.grid_low_kw),
    grid_high_kw: part(whole.grid_high_kw), soc_frac: whole.soc_frac, firm_charge_kw: part(whole.firm_charge_kw), firm_discharge_kw: part(whole.firm_discharge_kw),
  };
}

function roots(now) {
  return [...TREE.values()].filter((one) => one.parent_id === null).map((one) => group(one, now));
}

/** What `/api/groups` answers. */
function groupPage(query, now) {
  const [parent, hierarchy, text, order] = ["parent", "hierarchy", "text", "order"].map((name) => query.get(name));
  const limit = Number(query.get("limit") ?? 100);
  const found = [...TREE.values()].filter(
    (one) =>
      (parent ? one.parent_id === parent : text ? one.name.toLowerCase().includes(text.toLowerCase()) : one.parent_id === null) &&
      (!hierarchy || one.hierarchy_id === hierarchy),
  );
  const made = found.map((one) => group(one, now));
  if (order === "coverage") made.sort((a, b) => a.coverage_kw_frac - b.coverage_kw_frac);
  if (order === "suspect") made.sort((a, b) => b.suspect - a.suspect);
  return { as_of_ms: now, total: made.length, offset: 0, limit, groups: made.slice(0, limit) };
}

function alerts(now) {
  const made = (part) => ({ key: part.event, from_ms: null, charge_kw: part.sites * 4.6, discharge_kw: part.sites * 4.6, capacity_kwh: part.sites * 12.8, ...part });
  const found = [made({ event: "Wind Chill Advisory", severity: "moderate", until_ms: now + 7 * HOUR, sites: 242 })];
  if (options.scene === "trouble") {
    found.unshift(
      made({ event: "Ice Storm Warning", severity: "extreme", until_ms: now + 3 * HOUR, sites: 510 }),
      made({ event: "Winter Storm Watch", severity: "severe", from_ms: now + 5 * HOUR, until_ms: now + 26 * HOUR, sites: 1 }),
      made({ event: "Frost Advisory", severity: "minor", until_ms: now + HOUR, sites: 3 }),
    );
  }
  return found;
}

function prices(now) {
  const hour = floorTo(now, HOUR);
  const published = floorTo(now - 6 * HOUR, 24 * HOUR) + 30 * HOUR + (hourOfDay(now) >= 13 ? 24 * HOUR : 0);
  return RESOURCES.map(({ point: name }) => {
    const made = { settlement_point: name, start_ms: [], actual: [], q05: [], q50: [], q95: [] };
    for (let t = hour - 48 * HOUR; t < hour + 40 * HOUR; t += HOUR) {
      const known = t < published;
      const middle = priceAt(t, name) + 7 * (noise(t / HOUR + 11) - 0.5);
      const width = 6 + Math.max(0, t - now) / HOUR / 2 + Math.max(0, middle) * 0.16;
      made.start_ms.push(t);
      made.actual.push(known ? priceAt(t, name) : null);
      made.q05.push(t >= hour - 24 * HOUR ? middle - width : null);
      made.q50.push(t >= hour - 24 * HOUR ? middle : null);
      made.q95.push(t >= hour - 24 * HOUR ? middle + 1.7 * width : null);
    }
    return made;
  });
}

const gateOf = (midnight) => midnight - 14 * HOUR; // ten o'clock local on the day before

function days(now) {
  const today = floorTo(now - 6 * HOUR, 24 * HOUR) + 6 * HOUR;
  return [today - 24 * HOUR, today, today + 24 * HOUR].filter((midnight) => midnight >= FROM_MS);
}

function bidsOf(midnight, now) {
  return RESOURCES.map((one, r) => {
    const gate = gateOf(midnight);
    const orders = [];
    const award = [];
    for (let t = midnight; t < midnight + 24 * HOUR; t += HOUR) {
      const mwh = awardAt(t, one);
      const settled = priceAt(t, one.point);
      if (mwh !== 0) {
        const side = mwh > 0 ? "buy" : "sell";
        for (const [share, shift] of [[0.6, -8], [0.4, 3]]) {
          const limit = side === "sell" ? settled - 6 + shift : settled + 6 - shift;
          orders.push({ start_ms: t, end_ms: t + HOUR, side, quantity_mw: Math.abs(mwh) * share, limit_price_per_mwh: Math.round(limit * 100) / 100 });
        }
      } else if (hourOfDay(t) === 20) {
        orders.push({ start_ms: t, end_ms: t + HOUR, side: "sell", quantity_mw: one.kw / 2000, limit_price_per_mwh: 140 });
      }
      award.push({ start_ms: t, end_ms: t + HOUR, energy_mwh: mwh, price_per_mwh: settled });
    }
    const sent = now > gate - 40 * MINUTE;
    const trouble = options.scene === "trouble" && r === 1;
    return {
      resource_id: one.id, delivery_date: dateOf(midnight), gate_ms: gate,
      status: !sent ? "building" : trouble ? "rejected" : now > gate - 38 * MINUTE ? "accepted" : "submitted",
      rung: r === 1 && noise(midnight) > 0.5 ? "older_forecast" : "fresh",
      rung_reason: r === 1 && noise(midnight) > 0.5 ? "the newest forecast was 7 h old" : "",
      submitted_ms: sent ? gate - 40 * MINUTE : null,
      orders: sent || now > gate - 2 * HOUR ? orders : [],
      award: now > gate + 3.5 * HOUR && !trouble ? award : null,
    };
  });
}

function bids(now) {
  return days(now).flatMap((midnight) => bidsOf(midnight, now));
}

function delivery(now) {
  const [first] = days(now);
  return RESOURCES.map((one) => {
    const made = { resource_id: one.id, start_ms: [], award_mwh: [], delivered_mwh: [] };
    for (let t = first ?? FROM_MS; t < (first ?? FROM_MS) + 48 * HOUR; t += HOUR) {
      const award = awardAt(t, one);
      const part = Math.min(1, Math.max(0, (now - t) / HOUR));
      made.start_ms.push(t);
      made.award_mwh.push(award);
      made.delivered_mwh.push(t <= now ? award * deliveredShare(t, one) * part : null);
    }
    return made;
  });
}

function money(now) {
  const rows = [];
  let [revenue, best] = [0, 0];
  for (const one of RESOURCES) {
    for (let day = FROM_MS; day <= now; day += 24 * HOUR) {
      let [earned, award, done] = [0, 0, 0];
      for (let t = day; t < Math.min(day + 24 * HOUR, now); t += HOUR) {
        const mwh = awardAt(t, one);
        earned -= mwh * priceAt(t, one.point);
        award += mwh;
        done += mwh * deliveredShare(t, one);
      }
      revenue += earned;
      best += earned > 0 ? earned / 0.89 : 0;
      rows.push({
        delivery_date: dateOf(day), resource_id: one.id, revenue: earned, award_mwh: award, delivered_mwh: done,
        status: day + 24 * HOUR < now ? "settled" : "provisional",
      });
    }
  }
  return { currency: "USD", revenue, perfect_foresight: best > 0 ? best : null, by_day: rows };
}

function runs(now) {
  return days(now)
    .flatMap((midnight) => bidsOf(midnight, now).map((bid) => ({ bid, start: bid.gate_ms - 42 * MINUTE })))
    .filter(({ start }) => start < now)
    .map(({ bid, start }) => ({
      workflow_id: `bid-${bid.resource_id}-${bid.delivery_date}`, kind: "day-ahead bid", resource_id: bid.resource_id,
      delivery_date: bid.delivery_date, gate_ms: bid.gate_ms, started_ms: start, finished_ms: start + 2 * MINUTE,
      status: bid.status === "rejected" ? "FAILED" : "SUCCESS", rung: bid.rung, rung_reason: bid.rung_reason,
      steps: [
        { name: "read_state", took_s: 0.02, outcome: "ok" },
        { name: "forecast", took_s: 1.84, outcome: bid.rung === "fresh" ? "ok" : "timeout" },
        { name: "optimise", took_s: 0.41, outcome: "ok" },
        { name: "submit", took_s: 0.12, outcome: bid.status === "rejected" ? "rejected" : "ok" },
        { name: "await_award", took_s: 15.3, outcome: "ok" },
      ],
    }));
}

function quarantine(now) {
  const n = Math.floor((now - FROM_MS) / (6 * MINUTE));
  return {
    total: n,
    by_reason: { out_of_range: Math.floor(n * 0.6), unknown_site: Math.floor(n * 0.3), from_the_future: n - Math.floor(n * 0.6) - Math.floor(n * 0.3) },
    recent: Array.from({ length: Math.min(n, 8) }, (_, i) => ({
      arrival_ms: now - i * 6 * MINUTE, site_id: `home-${String(Math.floor(noise(n - i) * 1000)).padStart(4, "0")}`,
      reason: i % 3 === 2 ? "unknown_site" : "out_of_range",
      detail: i % 3 === 2 ? "no site of this name is registered" : "battery_w 91000 above the nameplate of 5000", size_bytes: 64 + 8 * i,
    })),
  };
}

const noted = new Map();

function alarms(now) {
  const made = (part) => ({
    kind: "communication_loss", scope: "group", hierarchy_id: "weather-zones", peak_sites: part.sites ?? 0, sites: 0, of_sites: 0, examples: [], value: null, detail: "",
    count: 1, updated_ms: part.raised_ms, acknowledged_ms: null, acknowledged_by: "", note: "", returned_ms: null, cleared_ms: null,
    merged_into_number: null, split_from_number: null, ...part, ...noted.get(part.number),
  });
  const active = [
    made({ number: 12, severity: "warning", subject: "west", name: "West", sites: 14, of_sites: 250, detail: "scattered", raised_ms: now - 50 * MINUTE }),
    made({ number: 9, kind: "suspect_stuck", severity: "notice", scope: "site", subject: "home-0042", name: "home-0042", sites: 1, of_sites: 1, count: 3, raised_ms: now - 3 * HOUR }),
    made({
      number: 4, kind: "history_lag", severity: "warning", scope: "part", subject: "history", name: "The history", value: 912, detail: "s", raised_ms: now - HOUR,
      acknowledged_ms: now - 40 * MINUTE, acknowledged_by: "ada", note: "disk is being replaced",
    }),
  ];
  if (options.scene === "trouble") {
    active.unshift(made({ number: 31, severity: "critical", subject: "north", name: "North", sites: 246, of_sites: 251, raised_ms: now - 4 * MINUTE }));
  }
  return { active_count: active.length, active };
}

function health(now) {
  const roles = ["fabric", "shard-0", "shard-1", "bidding", "dispatch", "market", "homes", "api"];
  return roles.map((role, i) => ({
    role, status: options.scene === "trouble" && role === "dispatch" ? "down" : "up", restarts: i === 2 ? 1 : 0, since_ms: FROM_MS + i * 400,
  }));
}

function gate(now) {
  const next = days(now).concat(floorTo(now - 6 * HOUR, 24 * HOUR) + 54 * HOUR).find((midnight) => gateOf(midnight) > now);
  if (next === undefined) return null;
  const standing = bidsOf(next, now).filter((bid) => bid.status === "accepted");
  return { market_id: "ercot-dam", delivery_date: dateOf(next), gate_ms: gateOf(next), resources_ready: standing.map((bid) => bid.resource_id) };
}

const RUN_MS = 7 * 24 * HOUR;

function state(now) {
  if (options.scene === "empty") {
    return {
      now_ms: now, zone: ZONE, speed: SPEED, run: null, fleet: null, fleet_series: columns([]), twins: null, resources: [], groups: [], prices: [], next_gate: null,
      bids: [], delivery: [], money: { currency: "USD", revenue: null, perfect_foresight: null, by_day: [] }, runs: [],
      quarantine: { total: 0, by_reason: {}, recent: [] }, alarms: { active_count: 0, active: [] }, alerts: [], health: [],
    };
  }
  const finished = options.scene === "finished";
  return {
    now_ms: now, zone: ZONE, speed: SPEED, run: { from_ms: FROM_MS, to_ms: FROM_MS + RUN_MS, done_frac: finished ? 1 : (now - FROM_MS) / RUN_MS },
    fleet: fleet(now), fleet_series: series(now), twins: twins(now), resources: resources(now), groups: roots(now), prices: prices(now), next_gate: gate(now),
    bids: bids(now), delivery: delivery(now), money: money(now), runs: runs(now), quarantine: quarantine(now), alarms: alarms(now), alerts: alerts(now), health: health(now),
  };
}

// The story begins on its second evening, with the batteries selling into the peak.
const BEGIN_MS = FROM_MS + 42.1 * HOUR;
const startedAt = Date.now();
const simulated = () => Math.round(BEGIN_MS + (Date.now() - startedAt) * SPEED);

const SESSION = {
  operator: "this machine", name: "this machine", mode: "open", sign_in: false, roles: [],
  rights: ["administer", "home", "operate", "see", "trade"], sites: null, until_ms: null, now_ms: 0,
};

/** Who reads the page, taking note of an alarm, and groups. */
function answer(request, response, path) {
  const [, number] = /^\/api\/alarms\/(\d+)\/ack$/.exec(path) ?? [];
  response.setHeader("Content-Type", "application/json");
  if (path === "/api/groups") response.end(JSON.stringify(groupPage(new URL(request.url, "http://localhost").searchParams, simulated())));
  else if (path === "/api/session") response.end(JSON.stringify(SESSION));
  else if (number !== undefined && request.method === "POST") {
    noted.set(Number(number), { acknowledged_ms: simulated(), acknowledged_by: "this machine" });
    response.end("{}");
  } else response.writeHead(404).end("{}");
}

function serve(request, response) {
  response.setHeader("Content-Security-Policy", POLICY);
  response.setHeader("X-Content-Type-Options", "nosniff");
  const path = new URL(request.url ?? "/", "http://localhost").pathname;
  if (path.startsWith("/api/")) return answer(request, response, path);
  const file = join(options.static, normalize(path === "/" ? "/index.html" : path));
  if (!file.startsWith(resolve(options.static)) || !existsSync(file) || !statSync(file).isFile()) {
    response.writeHead(404, { "Content-Type": "text/plain" }).end("not found\n");
    return;
  }
  response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
  if (/\bgzip\b/.test(String(request.headers["accept-encoding"]))) {
    response.setHeader("Content-Encoding", "gzip");
    createReadStream(file).pipe(createGzip()).pipe(response);
  } else {
    createReadStream(file).pipe(response);
  }
}

const server = createServer(serve);
const sockets = new WebSocketServer({ server, path: "/api/live" });
const gapAfter = Number(options["gap-after"]);
sockets.on("connection", (socket) => {
  let seq = 1;
  let sent = 0;
  const full = state(simulated());
  let last = full.fleet_series.t_ms.at(-1) ?? 0;
  socket.send(JSON.stringify({ kind: "snapshot", seq, epoch: "fixture", state: full, feeds: {} }));
  let watched = [];
  const sendWatched = () => {
    const now = simulated();
    if (watched.length > 0) socket.send(JSON.stringify({ kind: "groups", as_of_ms: now, groups: watched.map((one) => group(one, now)) }));
  };
  socket.on("message", (text) => {
    // Every topic is sent anyway, but who asks for another one has nothing of it yet.
    const { watch, topics } = JSON.parse(text);
    if (topics) {
      seq += 1;
      const whole = state(simulated());
      last = whole.fleet_series.t_ms.at(-1) ?? last;
      socket.send(JSON.stringify({ kind: "delta", seq, set: whole, append: {} }));
    }
    if (watch) watched = watch.map((id) => TREE.get(id)).filter(Boolean);
    sendWatched();
  });
  if (options.scene === "finished") return;
  const timer = setInterval(() => {
    seq += 1;
    sent += 1;
    if (sent === gapAfter) seq += 1;
    const now = simulated();
    const { fleet_series: held, ...set } = state(now);
    const next = held.t_ms.findIndex((t) => t > last);
    const append = next < 0 ? {} : { fleet_series: Object.fromEntries(Object.entries(held).map(([name, column]) => [name, column.slice(next)])) };
    last = held.t_ms.at(-1) ?? last;
    socket.send(JSON.stringify({ kind: "delta", seq, set, append }));
    sendWatched();
  }, Number(options.every));
  socket.on("close", () => clearInterval(timer));
});
server.listen(Number(options.port), "127.0.0.1", () => {
  process.stdout.write(`http://127.0.0.1:${server.address().port}/\n`);
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
