/** What stands below the first screen of a phone: fetched once the top is drawn. */
import type { ReactElement } from "react";
import type { Schema } from "../api/client";
import { useFeed } from "../live/store";
import { Card } from "./Card";
import { Earnings, type EarningsProps } from "./Earnings";
import { Reserve } from "./Reserve";
import { Sharing, type SharingProps } from "./Sharing";
import { Storm } from "./Storm";
import { strings } from "./strings";
import type { Read } from "./useRead";

function Kept({ read, siteId }: { read: Read<Schema["HomeSite"]>; siteId: string }): ReactElement {
  const now = useFeed<Schema["HomeNow"]>(`home/${siteId}`).value;
  const home = read.value;
  if (home === null) {
    return (
      <Card title={strings.reserve.title} testId="home-reserve" state={read.fault === null ? "loading" : "error"}>
        {read.fault === null ? <p role="status">{strings.asking}</p> : <p role="alert">{read.fault}</p>}
      </Card>
    );
  }
  return (
    <>
      <Reserve home={home} socFrac={now?.soc_frac ?? null} onKept={(reserve) => read.put({ ...home, reserve })} />
      <Storm home={home} onSaid={(storm) => read.put({ ...home, storm })} />
    </>
  );
}

export interface BelowProps {
  readonly siteId: string;
  readonly site: Read<Schema["HomeSite"]>;
  readonly earnings: EarningsProps;
  readonly sharing: SharingProps;
}

export default function Below({ siteId, site, earnings, sharing }: BelowProps): ReactElement {
  return (
    <>
      <Kept read={site} siteId={siteId} />
      <Earnings {...earnings} />
      <Sharing {...sharing} />
    </>
  );
}
