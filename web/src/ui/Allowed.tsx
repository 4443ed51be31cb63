/** Shows what takes a right to those who have it; the API refuses the others anyway. */
import type { ReactNode } from "react";
import type { Right } from "../api/types";
import { useMay } from "../app/session";

export function Allowed({ right, otherwise = null, children }: { right: Right; otherwise?: ReactNode; children: ReactNode }): ReactNode {
  return useMay(right) ? children : otherwise;
}
