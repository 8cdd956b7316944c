// The backend's JSON, one request of a kind at a time: a newer question cancels the older one.

import { $ } from "./dom.js";

const running = new Map();

/** The address of a question. */
export const url = (path, asked) => `/api/v1/${path}${asked && asked.size ? `?${asked}` : ""}`;

/** The answer, or null if it was overtaken or failed; the page then says why. */
export async function ask(kind, path, asked) {
  running.get(kind)?.abort();
  const control = new AbortController();
  running.set(kind, control);
  try {
    const response = await fetch(url(path, asked), { signal: control.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error ?? `HTTP ${response.status}`);
    complain(kind, "");
    return answer;
  } catch (error) {
    if (error.name === "AbortError") return null;
    complain(kind, error instanceof TypeError ? "The backend does not answer. Is it still running?" : error.message);
    return null;
  } finally {
    if (running.get(kind) === control) running.delete(kind);
  }
}

const complaints = new Map();

function complain(kind, message) {
  if (message) complaints.set(kind, message);
  else complaints.delete(kind);
  const notice = $("notice");
  notice.textContent = [...new Set(complaints.values())].join(" · ");
  notice.hidden = !complaints.size;
}

export const asleep = () => document.hidden;
