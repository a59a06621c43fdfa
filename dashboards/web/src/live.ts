// Keeps the page of this moment up to date: the server sends its parts anew whenever some of them have changed. Where
// it refuses the stream, because too many watch or the session is over, the page is fetched every few seconds instead.
import { renew, replaceParts } from "./fresh";

const BEFORE_NEXT = 5000; // ms until a refused stream is asked for again
const SILENCE = 10000; // ms without a connection, after which the page says so

export function watchLive(changed: () => void): void {
  const board = document.getElementById("board");
  const address = board?.dataset.stream;
  const button = document.querySelector<HTMLButtonElement>("[data-pause]");
  const away = document.querySelector<HTMLElement>("[data-away]");
  if (!board || !address || !button || !away) return;
  let source: EventSource | undefined;
  let next: ReturnType<typeof setTimeout> | undefined;
  let silent: ReturnType<typeof setTimeout> | undefined;
  let paused = false;

  const heard = (): void => {
    clearTimeout(silent);
    silent = undefined;
    away.hidden = true;
  };

  const stop = (): void => {
    source?.close();
    source = undefined;
    clearTimeout(next);
    heard();
  };

  // A hidden tab holds no stream: a browser opens few connections to one server, and other tabs need them.
  const begin = (): void => {
    stop();
    if (document.hidden || paused) return;
    const opened = (source = new EventSource(address));
    opened.onopen = heard;
    opened.onmessage = (event: MessageEvent<string>) => {
      heard();
      replaceParts(board, new DOMParser().parseFromString(event.data, "text/html"));
      changed();
    };
    opened.onerror = () => {
      silent ??= setTimeout(() => (away.hidden = false), SILENCE);
      if (opened.readyState === EventSource.CLOSED) void refused();
    };
  };

  const refused = async (): Promise<void> => {
    next = setTimeout(begin, BEFORE_NEXT);
    try {
      await renew(changed);
      heard();
    } catch {
      // The server is away for a moment: the next stream will show.
    }
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    [button.textContent, button.dataset.other] = [button.dataset.other ?? "", button.textContent ?? ""];
    begin();
  });
  document.addEventListener("visibilitychange", begin);
  begin();
}
