/** A fault in one panel stays in that panel. */
import { Component, type ErrorInfo, type ReactNode } from "react";
import { strings } from "../strings";
import classes from "./ui.module.css";

interface State {
  readonly failed: boolean;
}

export class ErrorBoundary extends Component<{ children: ReactNode }, State> {
  override state: State = { failed: false };

  static getDerivedStateFromError(): State {
    return { failed: true };
  }

  override componentDidCatch(error: Error, info: ErrorInfo): void {
    console.error(error, info.componentStack);
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <div role="alert" className={classes["message"]}>
        {strings.panel.failed}{" "}
        <button type="button" className={classes["button"]} onClick={() => this.setState({ failed: false })}>
          {strings.panel.retry}
        </button>
      </div>
    );
  }
}
