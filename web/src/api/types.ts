/**
 * The live state as the server sends it, by the contract: one snapshot, then deltas.
 *
 * Power is load-positive (charging, consumption, import > 0; discharge, generation, export < 0). Instants are
 * milliseconds since 1970 in UTC, intervals are half-open. Absent is `null`, never zero.
 */
import type { Schema } from "./client";

export type Nullable = number | null;

export type Run = Schema["Run"];
export type FleetNow = Schema["FleetNow"];
export type TwinsNow = Schema["TwinsNow"];
export type Resource = Schema["Resource"];
export type Group = Schema["Group"];
export type GroupPage = Schema["GroupPage"];
export type PriceSeries = Schema["PriceSeries"];
export type NextGate = Schema["NextGate"];
export type Order = Schema["Order"];
export type AwardedInterval = Schema["AwardedInterval"];
export type Bid = Schema["Bid"];
export type Delivery = Schema["Delivery"];
export type MoneyDay = Schema["MoneyDay"];
export type Money = Schema["Money"];
export type WorkflowStep = Schema["WorkflowStep"];
export type WorkflowRun = Schema["WorkflowRun"];
export type Quarantined = Schema["Quarantined"];
export type Quarantine = Schema["Quarantine"];
export type Alarm = Schema["Alarm"];
export type Alarms = Schema["Alarms"];
export type AlertNow = Schema["AlertNow"];
export type Session = Schema["Session"];
export type RoleHealth = Schema["RoleHealth"];
export type FleetSeries = Required<Schema["FleetSeries"]>;
export type BidStatus = Bid["status"];
export type Severity = Alarm["severity"];
export type AlertSeverity = AlertNow["severity"];
export type Right = Session["rights"][number];
export type LiveState = Omit<Schema["LiveState"], "fleet_series"> & { fleet_series: FleetSeries };

/** What a feed says: its newest value, of when it is, and what is wrong where it could not be read. */
export interface FeedMessage {
  readonly as_of_ms: Nullable;
  readonly value: unknown;
  readonly fault: string | null;
}

export interface SnapshotMessage {
  kind: "snapshot";
  seq: number;
  /** Which run of the server counts; without one nothing can be resumed. */
  epoch: string | null;
  state: Partial<LiveState>;
  feeds: Record<string, FeedMessage>;
}

export interface DeltaMessage {
  kind: "delta";
  /** What the sender takes the receiver to hold. */
  from: number;
  seq: number;
  set: Partial<LiveState>;
  append: { fleet_series?: FleetSeries };
  feeds: Record<string, FeedMessage>;
}

/** The newest figures of the groups that this page watches; outside of the sequence of deltas. */
export interface GroupsMessage {
  kind: "groups";
  as_of_ms: number;
  groups: Group[];
}

/** This page reads slowly, or no longer does. */
export interface SlowMessage {
  kind: "slow";
  slow: boolean;
}

export type LiveMessage = SnapshotMessage | DeltaMessage | GroupsMessage | SlowMessage;
