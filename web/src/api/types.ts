/**
 * The live state as the server sends it: one snapshot, then deltas.
 *
 * Power is load-positive (charging, consumption, import > 0; discharge, generation, export < 0). Instants are
 * milliseconds since 1970 in UTC, intervals are half-open. Absent is `null`, never zero.
 */

export type Nullable = number | null;

export interface Run {
  from_ms: number;
  to_ms: number;
  done_frac: number;
}

/**
 * Powers without a word before `_kw` are sums over the fresh sites; the expected one is the best estimate of the true
 * total, silent and suspect sites included, which lies between low and high nine times out of ten.
 */
export interface FleetNow {
  sites: number;
  fresh: number;
  stale: number;
  unknown: number;
  suspect: number;
  capacity_kw: number;
  coverage_count_frac: Nullable;
  coverage_kw_frac: Nullable;
  oldest_age_s: Nullable;
  battery_kw: number;
  battery_expected_kw: number;
  battery_low_kw: number;
  battery_high_kw: number;
  solar_kw: number;
  load_kw: number;
  ev_kw: number;
  grid_kw: number;
  grid_expected_kw: number;
  grid_low_kw: number;
  grid_high_kw: number;
  energy_kwh: number;
  energy_capacity_kwh: number;
  soc_frac: Nullable;
  charge_headroom_kw: number;
  discharge_headroom_kw: number;
  /** Headroom to commit: what is left of it when the silent sites do their worst. */
  firm_charge_kw: number;
  firm_discharge_kw: number;
}

/** How the twins keep up; the sites of shards that are not live count as unknown. */
export interface TwinsNow {
  applied: number;
  lag: number;
  shards: number;
  live_shards: number;
}

export interface FleetSeries {
  t_ms: number[];
  battery_kw: Nullable[];
  expected_kw: Nullable[];
  low_kw: Nullable[];
  high_kw: Nullable[];
  solar_kw: Nullable[];
  load_kw: Nullable[];
  soc_frac: Nullable[];
  coverage_kw_frac: Nullable[];
}

export interface Resource {
  resource_id: string;
  name: string;
  market_id: string;
  settlement_point: string;
  sites: number;
  fresh_sites: number;
  measured_kw: number;
  target_kw: number;
  shortfall_kw: number;
  energy_kwh: number;
  energy_capacity_kwh: number;
  soc_frac: Nullable;
  coverage_kw_frac: number;
  hour_start_ms: number;
  hour_end_ms: number;
  award_mwh: number;
  delivered_mwh: number;
  revenue: Nullable;
  award_total_mwh: number;
  delivered_total_mwh: number;
  delivered_share: Nullable;
}

/** One node of a hierarchy, with `children` right below it; see `FleetNow` for the figures. */
export interface Group {
  group_id: string;
  hierarchy_id: string;
  parent_id: string | null;
  name: string;
  level: number;
  children: number;
  sites: number;
  fresh: number;
  stale: number;
  unknown: number;
  suspect: number;
  capacity_kw: number;
  coverage_count_frac: Nullable;
  coverage_kw_frac: Nullable;
  oldest_age_s: Nullable;
  battery_kw: number;
  expected_kw: number;
  low_kw: number;
  high_kw: number;
  grid_kw: number;
  grid_expected_kw: number;
  grid_low_kw: number;
  grid_high_kw: number;
  soc_frac: Nullable;
  firm_charge_kw: number;
  firm_discharge_kw: number;
}

/** Some of the groups that were asked for. */
export interface GroupPage {
  as_of_ms: Nullable;
  total: number;
  offset: number;
  limit: number;
  groups: Group[];
}

export interface PriceSeries {
  settlement_point: string;
  start_ms: number[];
  actual: Nullable[];
  q05: Nullable[];
  q50: Nullable[];
  q95: Nullable[];
}

export interface NextGate {
  market_id: string;
  delivery_date: string;
  gate_ms: number;
  resources_ready: string[];
}

export interface Order {
  start_ms: number;
  end_ms: number;
  side: "buy" | "sell";
  quantity_mw: number;
  limit_price_per_mwh: number;
}

export interface AwardedInterval {
  start_ms: number;
  end_ms: number;
  /** Bought positive, sold negative. */
  energy_mwh: number;
  price_per_mwh: number;
}

export type BidStatus = "building" | "submitted" | "accepted" | "rejected" | "unknown";

export interface Bid {
  resource_id: string;
  delivery_date: string;
  status: BidStatus;
  rung: string;
  rung_reason: string;
  gate_ms: number;
  submitted_ms: Nullable;
  orders: Order[];
  award: AwardedInterval[] | null;
}

export interface Delivery {
  resource_id: string;
  start_ms: number[];
  award_mwh: number[];
  delivered_mwh: Nullable[];
}

export interface MoneyDay {
  delivery_date: string;
  resource_id: string;
  revenue: number;
  award_mwh: number;
  delivered_mwh: number;
  status: "settled" | "provisional";
}

export interface Money {
  currency: string;
  revenue: Nullable;
  perfect_foresight: Nullable;
  by_day: MoneyDay[];
}

export interface WorkflowStep {
  name: string;
  took_s: number;
  outcome: string;
}

export interface WorkflowRun {
  workflow_id: string;
  kind: string;
  resource_id: string;
  delivery_date: string;
  gate_ms: number;
  started_ms: number;
  finished_ms: Nullable;
  status: string;
  rung: string;
  rung_reason: string;
  steps: WorkflowStep[];
}

export interface Quarantined {
  arrival_ms: number;
  site_id: string;
  reason: string;
  detail: string;
  size_bytes: number;
}

export interface Quarantine {
  total: number;
  by_reason: Record<string, number>;
  recent: Quarantined[];
}

export type Severity = "notice" | "warning" | "major" | "critical";

/** Something that a person should know of; `sites` of its `of_sites` are concerned now. */
export interface Alarm {
  number: number;
  kind: string;
  severity: Severity;
  scope: "site" | "group" | "fleet" | "part";
  subject: string;
  name: string;
  hierarchy_id: string;
  sites: number;
  of_sites: number;
  peak_sites: number;
  examples: string[];
  value: Nullable;
  /** `scattered` when the sites only lie in the subject; the unit of `value` for a part. */
  detail: string;
  count: number;
  raised_ms: number;
  updated_ms: number;
  acknowledged_ms: Nullable;
  acknowledged_by: string;
  note: string;
  returned_ms: Nullable;
  cleared_ms: Nullable;
  merged_into_number: Nullable;
  split_from_number: Nullable;
}

/** The alarms that stand, the most urgent first; `active_count` counts those beyond the list too. */
export interface Alarms {
  active_count: number;
  active: Alarm[];
}

export type AlertSeverity = "extreme" | "severe" | "moderate" | "minor" | "unknown";

/** A weather alert, and what of the fleet lies in its area. */
export interface AlertNow {
  key: string;
  event: string;
  severity: AlertSeverity;
  from_ms: Nullable;
  until_ms: number;
  sites: number;
  charge_kw: number;
  discharge_kw: number;
  capacity_kwh: number;
}

/** Who reads the page: an operator's name, or null for somebody who may only read. */
export interface Session {
  operator: string | null;
}

export interface RoleHealth {
  role: string;
  status: "up" | "starting" | "down";
  restarts: number;
  since_ms: Nullable;
}

export interface LiveState {
  now_ms: number;
  zone: string;
  /** Simulated seconds a real second; 1 is real time, null as fast as possible. */
  speed: Nullable;
  run: Run | null;
  fleet: FleetNow | null;
  fleet_series: FleetSeries;
  twins: TwinsNow | null;
  resources: Resource[];
  /** The roots of the hierarchies; what is below them is asked for. */
  groups: Group[];
  prices: PriceSeries[];
  next_gate: NextGate | null;
  bids: Bid[];
  delivery: Delivery[];
  money: Money;
  runs: WorkflowRun[];
  quarantine: Quarantine;
  alarms: Alarms;
  alerts: AlertNow[];
  health: RoleHealth[];
}

export interface SnapshotMessage {
  kind: "snapshot";
  seq: number;
  state: LiveState;
}

export interface DeltaMessage {
  kind: "delta";
  seq: number;
  set: Partial<LiveState>;
  append: { fleet_series?: FleetSeries };
}

/** The newest figures of the groups that this page watches; outside of the sequence of deltas. */
export interface GroupsMessage {
  kind: "groups";
  as_of_ms: number;
  groups: Group[];
}

export type LiveMessage = SnapshotMessage | DeltaMessage | GroupsMessage;
