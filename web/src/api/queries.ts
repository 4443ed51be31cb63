/** Questions to the plant as a component asks them: kept, shared, asked anew; and acts, with what is asked anew after them. */
import { QueryClient, useMutation, useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { request, RefusedError, type AnswerOf, type ArgsOf, type Method, type PathOf } from "./client";

const MOST_TRIES = 2;

/** Ask again when the plant was away, never when it refused. */
export function isWorthAnotherTry(failures: number, error: unknown): boolean {
  return failures < MOST_TRIES && (!(error instanceof RefusedError) || error.status >= 500);
}

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: { queries: { retry: isWorthAnotherTry, staleTime: 2_000, gcTime: 5 * 60_000, refetchOnWindowFocus: false } },
  });
}

export interface AskOptions {
  /** Ask again so often. Left out: once, and after acts. */
  readonly everyMs?: number;
  /** Ask at all; true when left out. */
  readonly enabled?: boolean;
  /** Go on showing the former answer while another one is on its way (another page, another filter). */
  readonly keep?: boolean;
}

/** The same without the types of every address at once: spreading them is more than the compiler can hold. */
const loosely = request as unknown as (method: Method, path: string, args: object) => Promise<unknown>;

/** Ask the plant; the key of the answer is the path with its arguments. */
export function useApi<P extends PathOf<"get">>(path: P, args: Omit<ArgsOf<"get", P>, "signal">, options: AskOptions = {}): UseQueryResult<AnswerOf<"get", P>> {
  return useQuery<AnswerOf<"get", P>>({
    queryKey: [path, args],
    queryFn: ({ signal }) => loosely("get", path, { ...args, signal }),
    enabled: options.enabled ?? true,
    ...(options.everyMs === undefined ? {} : { refetchInterval: options.everyMs }),
    ...(options.keep ? { placeholderData: (former: AnswerOf<"get", P> | undefined) => former } : {}),
  } as Parameters<typeof useQuery<AnswerOf<"get", P>>>[0]);
}

export interface Act<M extends Method, P extends PathOf<M>> {
  /** Do it; rejects as it is refused. */
  readonly run: (args: ArgsOf<M, P>) => Promise<AnswerOf<M, P>>;
  readonly busy: boolean;
  readonly fault: string | null;
  readonly done: AnswerOf<M, P> | undefined;
  readonly reset: () => void;
}

/** Change something. Whatever was asked of a path that begins with one of `refresh` is asked anew afterwards. */
export function useAct<M extends Method, P extends PathOf<M>>(method: M, path: P, options: { readonly refresh?: readonly string[] } = {}): Act<M, P> {
  const client = useQueryClient();
  const mutation = useMutation<AnswerOf<M, P>, Error, ArgsOf<M, P>>({
    mutationFn: ((args: object) => loosely(method, path, args)) as never,
    onSettled: () =>
      client.invalidateQueries({
        predicate: ({ queryKey }) => (options.refresh ?? []).some((prefix) => String(queryKey[0]).startsWith(prefix)),
      }),
  });
  return { run: mutation.mutateAsync, busy: mutation.isPending, fault: mutation.error?.message ?? null, done: mutation.data, reset: mutation.reset };
}
