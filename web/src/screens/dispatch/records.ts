/** What the plant says of dispatch, by the names that this screen uses. */
import type { Schema } from "../../api/client";

export type Preview = Schema["PreviewView"];
export type PreviewSite = Schema["PreviewSite"];
export type LeftOut = Schema["LeftOut"];
export type OrderRow = Schema["OrderRow"];
export type OrderDetail = Schema["OrderDetail"];
export type OrderNow = Schema["OrderNow"];
export type OrderSeries = Schema["OrderSeries"];
export type OrderFeeder = Schema["OrderFeeder"];
export type OrderStep = Schema["OrderStep"];
export type Proposal = Schema["Proposal"];
export type Asked = Schema["DispatchAsked"];
