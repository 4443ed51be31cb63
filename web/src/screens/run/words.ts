/** What a run says in words, and what of it a person should look at. Pure. */
import type { Schema } from "../../api/client";
import type { WorkflowRun } from "../../api/types";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import type { Tone } from "../../ui/Pill";
import { strings } from "./strings";

export type Detail = Schema["RunDetail"];
export type Step = Schema["RunStep"];
export type Mark = "late" | "fallback" | "standing" | "manual";

const STANDING = "standing";
const MANUAL = "manual";
const DECLINED = "declined:";
const OPEN = new Set(["draft", "submitted", "unknown"]);
const BAD = new Set(["rejected", "missed"]);
const WARN = new Set(["unknown", "waiting"]);

/** Whether a bid came too late, as far as its summary tells. */
export function isLate(run: WorkflowRun, nowMs: number | null): boolean {
  if (run.kind !== "bid") return false;
  return run.status === "missed" || run.started_ms >= run.gate_ms || (OPEN.has(run.status) && nowMs !== null && nowMs >= run.gate_ms);
}

/** What is out of the ordinary of a run. */
export function marksOf(run: WorkflowRun, nowMs: number | null): Mark[] {
  if (run.kind !== "bid") return [];
  const found: Mark[] = isLate(run, nowMs) ? ["late"] : [];
  if (run.rung === MANUAL) return [...found, "manual"];
  if (run.rung === STANDING && run.rung_reason.startsWith(DECLINED)) return [...found, "standing"];
  return run.rung_reason === "" ? found : [...found, "fallback"];
}

/** Whether a person should look. */
export function isOdd(run: WorkflowRun, nowMs: number | null): boolean {
  return marksOf(run, nowMs).some((mark) => mark === "late" || mark === "fallback");
}

export function toneOf(status: string): Tone {
  if (BAD.has(status)) return "bad";
  return WARN.has(status) ? "warn" : "calm";
}

/** How long before or after its gate a run was decided. */
export function marginWords(run: WorkflowRun): string {
  if (run.kind !== "bid") return strings.list.settles;
  const leftS = (run.gate_ms - run.started_ms) / 1000;
  return leftS >= 0 ? strings.list.before(duration(leftS)) : strings.list.after(duration(-leftS));
}

/** In one sentence, whether the bid was in time. */
export function sentWords(detail: Detail): string {
  const { gate, run, sent_ms: sentMs } = detail;
  if (run.status === "missed") return strings.time.missed;
  if (gate === null || sentMs === null) return OPEN.has(run.status) ? strings.time.waiting : strings.time.notSent;
  const leftS = (gate.closes_ms - sentMs) / 1000;
  return leftS > 0 ? strings.time.inTime(duration(leftS)) : strings.time.tooLate(duration(-leftS));
}

export interface Place {
  readonly key: "decided" | "sent" | "gate";
  readonly atMs: number;
  /** From 0 to 1 along the way. */
  readonly at: number;
}

const ROOM = 0.04;

/** Where decision, sending and gate stand between the first and the last of them. */
export function placesOf(detail: Detail): Place[] {
  if (detail.gate === null) return [];
  const decidedMs = detail.decision?.as_of_ms ?? detail.run.started_ms;
  const found: { key: Place["key"]; atMs: number }[] = [{ key: "decided", atMs: decidedMs }];
  if (detail.sent_ms !== null) found.push({ key: "sent", atMs: detail.sent_ms });
  found.push({ key: "gate", atMs: detail.gate.closes_ms });
  const instants = found.map((one) => one.atMs);
  const first = Math.min(...instants);
  const span = Math.max(...instants) - first || 1;
  return found.map((one) => ({ ...one, at: ROOM + (1 - 2 * ROOM) * ((one.atMs - first) / span) }));
}

/** How much of its time a step took, from 0 to 1; null where no limit was kept. */
export function shareOf(step: Step): number | null {
  if (step.budget_s === null) return null;
  return step.budget_s <= 0 ? 1 : Math.min(step.took_s / step.budget_s, 1);
}

const BRIEF_S = 1;

/** How long a step took: most are over in milliseconds. */
export function tookWords(seconds: number): string {
  return seconds > 0 && seconds < BRIEF_S ? strings.time.ms(count(Math.max(seconds * 1000, 1))) : duration(seconds);
}
