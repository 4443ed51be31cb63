/** Records to test dispatch with. */
import type { Group } from "../../api/types";
import type { Program } from "./form";
import type { OrderDetail, OrderNow, OrderRow, Preview, Proposal } from "./records";

export const HOUR_MS = 3_600_000;

export function feeder(part: Partial<Group> = {}): Group {
  return {
    group_id: "feeder-7", hierarchy_id: "grid", parent_id: "s1", name: "Feeder 7", level: 1, children: 0, sites: 12, fresh: 9, stale: 2, unknown: 1, suspect: 0,
    capacity_kw: 60, coverage_count_frac: 0.75, coverage_kw_frac: 0.7, oldest_age_s: 90, battery_kw: -20, expected_kw: -24, low_kw: -30, high_kw: -18, grid_kw: -10,
    grid_expected_kw: -12, grid_low_kw: -20, grid_high_kw: -4, soc_frac: 0.6, firm_charge_kw: 4.27, firm_discharge_kw: 18.4, ...part,
  } as Group;
}

export function program(part: Partial<Program> = {}): Program {
  return {
    place: 1, program_id: "emergency", name: "Emergency", kind: "power", reserve: "keep", exclusive: false, beside_exclusive: false, may_opt_out: true, minimum_notice_s: 0,
    pays: "event", terms: "1", sites: 12, opted_out_sites: 0, ...part,
  };
}

export const PROGRAMS: readonly Program[] = [program(), program({ program_id: "peak", name: "Peak", minimum_notice_s: 1_800, place: 2 }), program({ program_id: "storm", name: "Storm", kind: "hold", place: 3 })];

export const PREVIEW: Preview = {
  token: "p-1", kind: "setpoint", program: "emergency", made_ms: 0, kept_s: 900, start_ms: 0, end_ms: HOUR_MS, sites: 12, enrolled: 11, taking_part: 8, fresh: 9, silent: 2, halted: 1,
  asked_kw: -20, expected_kw: -17, low_kw: -19, high_kw: -15, sustained_kw: -14, sustained_low_kw: -16, sustained_high_kw: -12, energy_kwh: 14, shortfall_kw: 6,
  assumes: ["Owners take part as they did lately."],
  binding: [{ limit: "energy or what the owner keeps", sites: 3, power_kw: 6 }],
  losses: [{ claim: "evening award", sites: 2, power_kw: 1.5, words: "1.5 kW: it goes after emergencies" }],
  left_out: [{ reason: "silent", words: "are silent; they are told as soon as they speak", sites: 2, sample: ["home-3", "home-9"] }, { reason: "stopped", words: "are stopped by a kill switch", sites: 1, sample: ["home-4"] }],
  cost: { currency: "USD", amount: "1.20", low_amount: "1.00", high_amount: "1.40", per_mwh: "85.71", parts: [{ name: "energy", words: "energy bought back", amount: "1.20" }], missing: ["wear of the batteries"] },
  rebound: { sure: "at most", peak_kw: 22, energy_kwh: 15.5, from_ms: HOUR_MS, until_ms: 2 * HOUR_MS, steepest_kw_per_min: 40, t_ms: [0, HOUR_MS, HOUR_MS + 60_000, 2 * HOUR_MS], kw: [-14, -14, 22, 0] },
  by_feeder: [{ group_id: "feeder-7", name: "Feeder 7", sites: 12, taking_part: 8, asked_kw: -20, expected_kw: -17, low_kw: -19, high_kw: -15, limit_kw: 40, limit_group: "s1" }],
  steps: [], second_above_kw: null, second_kw: 20, needs_second: false,
} as Preview;

export const ROW: OrderRow = {
  order_id: "o-1", revision: 1, kind: "setpoint", device_kind: "", title: "Discharge 20 kW with Feeder 7", program: "emergency", for_whom: "", scope_sites: [], scope_groups: ["feeder-7"], fleet: false,
  phase: "running", state: "standing", start_ms: 0, end_ms: HOUR_MS, by: "ada", at_ms: 0, reason: "hot evening", approved_by: "", trial: "", asked_kw: -20, measured_kw: -17, coverage_frac: 0.75, sites: 12,
} as OrderRow;

export const NOW: OrderNow = {
  order_id: "o-1", revision: 1, state: "standing", phase: "running", told_phase: "", as_of_ms: 120_000, t_ms: 120_000, start_ms: 0, end_ms: HOUR_MS, commanded_kw: -20, measured_kw: -17, low_kw: -19,
  high_kw: -15, shortfall_kw: 3, coverage_frac: 0.75, oldest_age_s: 90, shared: "by rating", sites: { meant: 12, fresh: 9, answering: 8, refused: 1, left: 1, stopped: 1 }, reasons: { "no energy": 1 },
  by_feeder: [{ group_id: "feeder-7", name: "Feeder 7", sites: 12, fresh: 9, commanded_kw: -20, measured_kw: -17, low_kw: -19, high_kw: -15, coverage_frac: 0.75, oldest_age_s: 90, answering: 8, refused: 1, reasons: { "no energy": 1 } }],
} as OrderNow;

export const DETAIL: OrderDetail = {
  row: ROW, spec: {}, proposal: null, preview: PREVIEW,
  steps: [
    { number: 1, at_ms: 0, by: "ada", action: "put", outcome: "accepted", reason: "hot evening", detail: "" },
    { number: 2, at_ms: 60_000, by: "", action: "report", outcome: "refused", reason: "no energy", detail: "home-5" },
  ],
} as OrderDetail;

export const PROPOSAL: Proposal = {
  proposal_id: "q-1", kind: "setpoint", title: "Discharge 20 kW with Feeder 7", power_kw: 20, body: {}, by: "bea", at_ms: 0, reason: "hot evening", expires_ms: HOUR_MS, state: "waiting", decided_by: "", decided_ms: null,
  note: "", order_id: "", preview: PREVIEW,
} as Proposal;
