/** A form as it is shown: what nobody has given follows from the plant, and then stays as it was read. */
import { useEffect, useMemo, useState } from "react";
import { useNowMs } from "../../live/now";
import { useZone } from "../../ui/Instant";
import { usualPower, usualProgram, usualStart, type Form, type Program, type Target } from "./form";
import { localText } from "./when";

interface Suggested {
  /** What it was worked out for: another group, way or program has another. */
  readonly of: string;
  readonly value: string;
}

const NOTHING: Suggested = { of: "", value: "" };

/** Keeps the first value that there was for each `of`: a suggestion must not move while somebody reads it. */
function useSteady(of: string, value: string): string {
  const [held, setHeld] = useState(NOTHING);
  const steady = held.of === of && held.value !== "";
  useEffect(() => {
    if (!steady && value !== "") setHeld({ of, value });
  }, [of, steady, value]);
  return steady ? held.value : value;
}

export function useFilled(form: Form, target: Target | null, programs: readonly Program[]): Form {
  const zone = useZone();
  const now = useNowMs();
  const program = programs.some((one) => one.program_id === form.program) ? form.program : usualProgram(form.way, programs);
  const noticeS = programs.find((one) => one.program_id === program)?.minimum_notice_s ?? 0;
  const start = useSteady(`${form.way} ${program}`, form.way === "now" || now === null ? "" : localText(usualStart(now, noticeS), zone));
  const group = target?.kind === "group" ? target.group : null;
  const power = useSteady(`${group?.group_id ?? ""} ${form.act}`, usualPower(form.act, group));
  return useMemo(
    () => ({ ...form, program, start: form.start === "" ? start : form.start, power: form.powerGiven ? form.power : power }),
    [form, program, start, power],
  );
}
