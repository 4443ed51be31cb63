/** Every address there is, in one place: screens never write one out. */
type Search = Record<string, string | undefined>;

function at(path: string, search: Search = {}): string {
  const given = Object.entries(search).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}

const part = encodeURIComponent;

export const links = {
  fleet: (search?: Search) => at("/", search),
  node: (groupId: string, search?: Search) => at(`/node/${part(groupId)}`, search),
  alarms: (search?: Search) => at("/alarms", search),
  alarm: (number: number) => at(`/alarms/${number}`),
  dispatches: (search?: Search) => at("/dispatch", search),
  newDispatch: (search?: Search) => at("/dispatch/new", search),
  dispatch: (orderId: string, search?: Search) => at(`/dispatch/${part(orderId)}`, search),
  sites: (search?: Search) => at("/sites", search),
  site: (siteId: string, search?: Search) => at(`/site/${part(siteId)}`, search),
  markets: () => at("/market"),
  market: (resourceId: string, search?: Search) => at(`/market/${part(resourceId)}`, search),
  settlements: () => at("/settlement"),
  settlement: (resourceId: string, search?: Search) => at(`/settlement/${part(resourceId)}`, search),
  runs: (search?: Search) => at("/runs", search),
  run: (workflowId: string) => at(`/run/${part(workflowId)}`),
  forecast: (search?: Search) => at("/forecast", search),
  admin: (search?: Search) => at("/admin", search),
};
