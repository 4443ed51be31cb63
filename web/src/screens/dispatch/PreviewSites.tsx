/** The sites behind a number of a preview, one by one: what each is asked and would do, or why not. */
import { useState, type ReactElement } from "react";
import { RefusedError } from "../../api/client";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { count, percent } from "../../format/number";
import { batteryPhrase } from "../../format/power";
import { duration } from "../../format/time";
import { strings as shared } from "../../strings";
import { Button } from "../../ui/Button";
import { DataTable } from "../../ui/DataTable";
import { Dialog } from "../../ui/Dialog";
import { faultWords } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import classes from "./dispatch.module.css";
import type { PreviewSite } from "./records";
import { strings } from "./strings";

const words = strings.preview.sites;
const PAGE = 50;
const MOST = 500;

function rowOf(site: PreviewSite): { key: string; cells: (string | ReactElement)[] } {
  const none = shared.panel.noValue;
  return {
    key: site.site_id,
    cells: [
      <ScreenLink key="site" to={links.site(site.site_id)}>
        {site.site_id}
      </ScreenLink>,
      batteryPhrase(site.asked_kw),
      batteryPhrase(site.expected_kw),
      batteryPhrase(site.sustained_kw),
      site.soc_frac === null ? none : percent(site.soc_frac),
      site.age_s === null ? words.never : shared.figures.age(duration(site.age_s)),
    ],
  };
}

export interface PreviewSitesProps {
  readonly token: string;
  /** One of the reasons, `takes_part`, or empty for all. */
  readonly reason: PreviewSite["reason"] | "";
  readonly name: string;
  readonly onClose: () => void;
}

export function PreviewSites({ token, reason, name, onClose }: PreviewSitesProps): ReactElement {
  const [limit, setLimit] = useState(PAGE);
  const query = useApi("/api/dispatch/preview/{token}/sites", { path: { token }, query: { reason, limit } }, { keep: true });
  const page = query.data;
  const gone = query.error instanceof RefusedError && query.error.status === 404;
  return (
    <Dialog title={name} onClose={onClose} wide>
      <div className={ui["stack"]} data-testid="preview-sites">
        {page ? null : (
          <p role="status" className={classes["said"]}>
            {query.isError ? (gone ? words.gone : faultWords(query.error)) : shared.panel.loading(name)}
          </p>
        )}
        {page ? (
          <>
            <DataTable
              long
              caption={name}
              columns={[{ label: words.site }, { label: words.asked }, { label: words.would }, { label: words.hold }, { label: words.soc, end: true }, { label: words.age, end: true }]}
              rows={page.rows.map(rowOf)}
            />
            <p className={classes["hint"]}>{words.shown(count(page.rows.length), count(page.total))}</p>
            {page.total > page.rows.length && limit < MOST ? (
              <div>
                <Button onClick={() => setLimit(Math.min(limit + 150, MOST))}>{words.more}</Button>
              </div>
            ) : null}
          </>
        ) : null}
        <div className={ui["buttons"]}>
          <Button onClick={onClose}>{shared.ask.close}</Button>
        </div>
      </div>
    </Dialog>
  );
}
