/**
 * One socket that stays: it connects, reads, and on silence, a gap or a fault connects again, where it can from what it holds.
 *
 * Everything outside (socket, timer, clock, chance) is handed in, so that the tests drive it without waiting.
 */
import { parseMessage } from "../api/message";
import { backoffMs } from "./backoff";
import { keepOnly, reduce, type LiveModel, type Step } from "./reducer";

/** Silence after which a connection is given up: a dead path does not always say so. */
export const SILENCE_MS = 45_000;
/** The server closes with this code when the session is over. */
export const SESSION_OVER = 4401;

export type Link = "connecting" | "live" | "reconnecting";

export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event?: { code?: number }) => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(): void;
}

/** What is asked for when connecting: topics, and from where on when something is held. */
export interface Wish {
  readonly topics: readonly string[];
  readonly epoch: string | null;
  readonly seq: number | null;
}

export interface World {
  openSocket(wish: Wish): SocketLike;
  after(ms: number, task: () => void): () => void;
  nowMs(): number;
  random(): number;
}

export interface Receiver {
  onModel(model: LiveModel, receivedMs: number): void;
  onLink(link: Link): void;
  onFault(text: string): void;
  onSessionOver(): void;
}

export class LiveSocket {
  private model: LiveModel | null = null;
  private socket: SocketLike | null = null;
  /** Whether the present socket has said anything yet. */
  private greeted = false;
  private attempt = 0;
  private cancelRetry: (() => void) | null = null;
  private cancelWatch: (() => void) | null = null;
  private stopped = false;
  private watched: readonly string[] = [];
  private topics: readonly string[];

  constructor(
    private readonly world: World,
    private readonly receiver: Receiver,
    topics: readonly string[] = ["now"],
  ) {
    this.topics = topics;
  }

  start(): void {
    this.stopped = false;
    if (!this.socket && !this.cancelRetry) this.open();
  }

  stop(): void {
    this.stopped = true;
    this.cancelRetry?.();
    this.cancelRetry = null;
    this.drop();
  }

  /** Connect at once instead of after the wait: somebody has signed in, or the network is back. */
  hurry(): void {
    if (this.stopped || !this.cancelRetry) return;
    this.cancelRetry();
    this.attempt = 0;
    this.open();
  }

  /** Say which topics to send, in place of the former ones. What is no longer sent is let go of. */
  want(topics: readonly string[]): void {
    if (topics.join("\n") === this.topics.join("\n")) return;
    this.topics = topics;
    if (this.model) {
      this.model = keepOnly(this.model, topics);
      this.receiver.onModel(this.model, this.world.nowMs());
    }
    if (this.greeted) this.socket?.send(JSON.stringify({ topics }));
  }

  /** Say which groups to send the figures of, in place of the former ones; it is said again after each reconnection. */
  watch(groupIds: readonly string[]): void {
    if (groupIds.join("\n") === this.watched.join("\n")) return;
    this.watched = groupIds;
    if (this.greeted) this.socket?.send(JSON.stringify({ watch: groupIds }));
  }

  /** Leave the present socket, if any, without hearing from it again. */
  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    this.greeted = false;
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
      const held = this.model?.epoch ? this.model : null;
      socket = this.world.openSocket({ topics: this.topics, epoch: held?.epoch ?? null, seq: held?.seq ?? null });
    } catch (error) {
      this.receiver.onFault(String(error));
      this.retry();
      return;
    }
    this.socket = socket;
    const asked = this.topics;
    socket.onmessage = (event) => this.read(event.data, asked);
    socket.onclose = (event) => this.closed(event?.code);
    socket.onerror = () => this.retry();
    this.expectNews();
  }

  private closed(code: number | undefined): void {
    if (code === SESSION_OVER) this.receiver.onSessionOver();
    this.retry();
  }

  private expectNews(): void {
    this.cancelWatch?.();
    this.cancelWatch = this.world.after(SILENCE_MS, () => this.retry());
  }

  private read(data: unknown, asked: readonly string[]): void {
    if (typeof data !== "string") return this.fail("a message that is not text");
    let step: Step;
    try {
      step = reduce(this.model, parseMessage(data));
    } catch (error) {
      return this.fail(String(error));
    }
    if (step.kind === "gap") {
      // What is held is of no use any more: ask for everything.
      this.model = null;
      return this.retry();
    }
    if (!this.greeted) this.greet(asked);
    this.model = keepOnly(step.model, this.topics);
    this.attempt = 0;
    this.expectNews();
    this.receiver.onModel(this.model, this.world.nowMs());
    this.receiver.onLink("live");
  }

  /** Say what was wished for while the connection was made. */
  private greet(asked: readonly string[]): void {
    this.greeted = true;
    if (asked.join("\n") !== this.topics.join("\n")) this.socket?.send(JSON.stringify({ topics: this.topics }));
    if (this.watched.length > 0) this.socket?.send(JSON.stringify({ watch: this.watched }));
  }

  private fail(text: string): void {
    this.model = null;
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
