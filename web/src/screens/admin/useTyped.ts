/** What is typed into a field that the address keeps: another address shows its own. */
import { useEffect, useState } from "react";

export function useTyped(kept: string): [string, (typed: string) => void] {
  const [typed, setTyped] = useState(kept);
  useEffect(() => setTyped(kept), [kept]);
  return [typed, setTyped];
}
