/**
 * One socket that stays: it connects, reads, and on silence, a gap or a fault begins again with a new snapshot.
 *
 * Everything outside (socket, timer, clock, chance) is handed in, so that the tests drive it without waiting.
 */
import { parseMessage } from "../api/message";
import { backoffMs } from "./backoff";
import { reduce, type LiveModel } from "./reducer";

/** Silence after which a connection is given up: a dead path does not always say so. */
export const SILENCE_MS = 45_000;

export type Link = "connecting" | "live" | "reconnecting";

export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(): void;
}

export interface World {
  openSocket(): SocketLike;
  after(ms: number, task: () => void): () => void;
  nowMs(): number;
  random(): number;
}

export interface Receiver {
  onModel(model: LiveModel, receivedMs: number): void;
  onLink(link: Link): void;
  onFault(text: string): void;
}

export class LiveSocket {
  private model: LiveModel | null = null;
  private socket: SocketLike | null = null;
  private attempt = 0;
  private cancelRetry: (() => void) | null = null;
  private cancelWatch: (() => void) | null = null;
  private stopped = false;
  private watched: readonly string[] = [];

  constructor(
    private readonly world: World,
    private readonly receiver: Receiver,
  ) {}

  start(): void {
    this.stopped = false;
    this.open();
  }

  stop(): void {
    this.stopped = true;
    this.cancelRetry?.();
    this.cancelRetry = null;
    this.drop();
  }

  /** Say which groups to send the figures of, in place of the former ones; it is said again after each reconnection. */
  watch(groupIds: readonly string[]): void {
    if (groupIds.join("\n") === this.watched.join("\n")) return;
    this.watched = groupIds;
    if (this.model) this.socket?.send(JSON.stringify({ watch: groupIds }));
  }

  /** Leave the present socket, if any, without hearing from it again. */
  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    this.cancelWatch?.();
    this.cancelWatch = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close();
  }

  private open(): void {
    this.cancelRetry = null;
    let socket: SocketLike;
    try {
      socket = this.world.openSocket();
    } catch (error) {
      this.receiver.onFault(String(error));
      this.retry();
      return;
    }
    this.socket = socket;
    this.model = null;
    socket.onmessage = (event) => this.read(event.data);
    socket.onclose = () => this.retry();
    socket.onerror = () => this.retry();
    this.expectNews();
  }

  private expectNews(): void {
    this.cancelWatch?.();
    this.cancelWatch = this.world.after(SILENCE_MS, () => this.retry());
  }

  private read(data: unknown): void {
    if (typeof data !== "string") return this.fail("a message that is not text");
    let step;
    try {
      step = reduce(this.model, parseMessage(data));
    } catch (error) {
      return this.fail(String(error));
    }
    if (step.kind === "gap") return this.retry();
    if (this.model === null && this.watched.length > 0) this.socket?.send(JSON.stringify({ watch: this.watched }));
    this.model = step.model;
    this.attempt = 0;
    this.expectNews();
    this.receiver.onModel(step.model, this.world.nowMs());
    this.receiver.onLink("live");
  }

  private fail(text: string): void {
    this.receiver.onFault(text);
    this.retry();
  }

  private retry(): void {
    this.drop();
    if (this.stopped || this.cancelRetry) return;
    this.receiver.onLink("reconnecting");
    const wait = backoffMs(this.attempt, this.world.random());
    this.attempt += 1;
    this.cancelRetry = this.world.after(wait, () => this.open());
  }
}
