/** Links that fetch what is shown as a file. */
import type { ReactElement } from "react";
import { addressOf } from "../../api/client";
import classes from "./settlement.module.css";
import { strings } from "./strings";

const FORMS = [
  ["csv", strings.files.csv],
  ["parquet", strings.files.parquet],
] as const;

interface Place {
  readonly path: string;
  readonly args: { readonly path?: Record<string, string>; readonly query?: Record<string, string | undefined> };
  readonly say: (form: string) => string;
}

export function Files({ path, args, say }: Place): ReactElement {
  return (
    <>
      {FORMS.map(([format, label]) => (
        <a key={format} className={classes["file"]} href={addressOf(path, { ...args, query: { ...args.query, format } }).href} download aria-label={say(label)}>
          {label}
        </a>
      ))}
    </>
  );
}

/** A day's lines, intervals or shares as files. */
export function DayFiles({ resourceId, day, what }: { resourceId: string; day: string; what: "lines" | "intervals" | "shares" }): ReactElement {
  return (
    <Files
      path="/api/settlement/{resource_id}/{day}/export"
      args={{ path: { resource_id: resourceId, day }, query: { what } }}
      say={(form) => strings.files.of(form, strings.files[what])}
    />
  );
}
