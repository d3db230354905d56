// Progress, live lists and buttons. The server renders everything that is seen; this file hands files in,
// asks for the page again when something has changed, and puts the new parts in place of the old.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);

document.documentElement.dataset.script = "on";

// ---- words that are read aloud -------------------------------------------------------------------------

const announce = (text) => {
  const region = $("#announcements");
  if (region.textContent !== text) region.textContent = text;
};

const problemText = async (response) => {
  try {
    const problem = await response.json();
    const fields = (problem.errors ?? []).map((e) => `${e.name}: ${e.detail}`);
    return [problem.detail ?? problem.title, ...fields].join(" ");
  } catch {
    return `The service answered ${response.status}. Try again in a moment.`;
  }
};

const UNREACHABLE = "The service did not answer. See whether it still runs, then try again.";

const showError = (text, tone = "bad") => {
  const box = $("#page-error");
  box.hidden = !text;
  box.className = `note ${tone}`;
  box.textContent = text;
};

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// ---- live parts: elements with an id and data-live ------------------------------------------------------

let shown = null;
let refreshing = null;
let following = null;
// Whether the last page that was asked for has no events any more.
let hasEnded = false;
// Whether a pointer or the space bar is down, and the newest page that came meanwhile. A press is no click when
// what it began on is gone before it ends.
let isHeld = false;
let letting = null;
let kept = null;

const replaceLive = (html) => {
  kept = isHeld ? html : null;
  if (isHeld || html === shown) return;
  shown = html;
  const fresh = new DOMParser().parseFromString(html, "text/html");
  hasEnded = !fresh.body.dataset.events;
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old || old.outerHTML === part.outerHTML) continue;
    // The keyboard must not lose its place when the part around it is replaced.
    const focused = old.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    old.replaceWith(document.adoptNode(part));
    if (focused) $(`[data-key="${CSS.escape(focused)}"]`, part)?.focus();
  }
  document.title = fresh.title;
  const state = $("[data-announce]")?.dataset.announce;
  if (state) announce(state);
};

const hold = () => {
  clearTimeout(letting);
  isHeld = true;
};

// The click itself comes after the event that ends the press; after that of a finger, in its own time.
const TAP = 400;

const letGo = (event) => {
  if (!isHeld) return;
  clearTimeout(letting);
  letting = setTimeout(() => {
    isHeld = false;
    if (kept) replaceLive(kept);
  }, event.pointerType === "touch" ? TAP : 0);
};

addEventListener("pointerdown", hold);
addEventListener("keydown", (event) => event.code === "Space" && hold());
addEventListener("keyup", (event) => event.code === "Space" && letGo(event));
for (const kind of ["pointerup", "pointercancel", "blur"]) addEventListener(kind, letGo);
// What is let go outside the window, or over a menu, is told by the next movement only.
addEventListener("pointermove", (event) => event.buttons === 0 && letGo(event));

// Answers whether the service did.
const load = async () => {
  try {
    const response = await fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" } });
    if (response.status === 404) location.assign("/");
    // The key has ended or was taken back: the page itself now asks for one.
    else if (response.status === 401 || response.status === 403) location.reload();
    else if (response.ok) replaceLive(await response.text());
    else return false;
    return true;
  } catch {
    // A service that restarts answers again soon; the next round will tell.
    return false;
  }
};

// One at a time. What is on its way may have been rendered before the change that is told of now, so that it is
// asked for once more after it: the last change of a job has no later one to make it good.
const refresh = () => {
  if (refreshing) {
    following ??= refreshing.then(() => {
      following = null;
      return refresh();
    });
    return following;
  }
  refreshing = load().finally(() => {
    refreshing = null;
  });
  return refreshing;
};

// For what no later round makes good. Pauses grow from a second to half a minute, about five minutes in all.
const insist = async () => {
  for (let n = 0; n < 14; n += 1) {
    if (await refresh()) return;
    const pause = Math.min(2 ** n, 30) * 1000 * (0.75 + Math.random() / 2);
    await sleep(pause);
  }
  if (!(await refresh())) showError(UNREACHABLE);
};

const every = (milliseconds, isOver = () => false) => {
  const round = async () => {
    if (!document.hidden) await refresh();
    if (!isOver()) setTimeout(round, milliseconds);
  };
  setTimeout(round, milliseconds);
  document.addEventListener("visibilitychange", () => !document.hidden && refresh());
};

const follow = (url) => {
  let timer = null;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      refresh();
    }, 200);
  };
  const source = new EventSource(url);
  for (const kind of ["progress", "state"]) source.addEventListener(kind, soon);
  source.addEventListener("finished", () => {
    source.close();
    insist();
  });
  // Any answer but a stream ends the source for good: too many streams, a proxy's error, a key that has ended.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) every(2000, () => hasEnded);
  });
  addEventListener("pagehide", () => source.close());
  // A page that comes back from the browser's memory has lost its stream.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
};

const live = document.body.dataset;
if (live.every) every(Number(live.every));
if (live.events) follow(live.events);

// ---- buttons that change a job ----------------------------------------------------------------------------

const confirmed = (button) => {
  const dialog = $("#confirm");
  $("p", dialog).textContent = button.dataset.confirm;
  $("button[value=yes]", dialog).textContent = button.textContent.trim();
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
};

const act = async (button) => {
  if (button.dataset.confirm && !(await confirmed(button))) return;
  showError("");
  button.disabled = true;
  try {
    const response = await fetch(button.dataset.url, { method: button.dataset.method });
    if (!response.ok) return showError(await problemText(response));
    if (button.dataset.then) return location.assign(button.dataset.then);
    // A job that starts again needs an event stream again, and its findings are new.
    if (button.dataset.again) return location.assign(location.pathname);
    await refresh();
  } catch {
    showError(UNREACHABLE);
  } finally {
    button.disabled = false;
  }
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-url]");
  if (button) act(button);
});

// ---- handing in a file --------------------------------------------------------------------------------------

const size = (bytes) => {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) {
    bytes /= 1024;
    power += 1;
  }
  return `${Number.isInteger(bytes) ? bytes : bytes.toFixed(1)} ${units[power]}`;
};

// Not randomUUID, which browsers have for https and loopback only.
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const MAYBE = "If the file has arrived all the same, its job is in the list; sending it again makes no second one.";
const STOPPED = "Stopped. If the file had arrived in full by then, it may have been handed in: see the list.";
const STILL_STORED = "This file is still being stored. Try again in a moment.";

// How often a form is sent while the service still stores it from an earlier try: about 20 seconds long.
const TRIES = 6;

const form = $("#upload");
if (form) {
  const file = $("input[type=file]", form);
  const drop = $(".drop", form);
  const send = $("button[type=submit]", form);
  const stop = $("#stop", form);
  const meter = $("#sending", form);
  const types = file.accept.split(",");
  // The page names the limit as it was when it was rendered; the service may have been restarted with another.
  let limit = Number(form.dataset.uploadBytes);
  let request = null;
  // Names what is handed in, so that trying again makes no second job; another file or field is another upload.
  let key = null;
  const forget = () => {
    key = null;
  };

  fetch("/api/limits")
    .then((response) => response.json())
    .then((limits) => {
      limit = limits.upload_bytes ?? limit;
    })
    .catch(() => {});

  const refusal = (chosen) => {
    if (!chosen) return "Choose a file first.";
    const name = chosen.name.toLowerCase();
    if (!types.some((type) => name.endsWith(type))) {
      return `“${chosen.name}” cannot be taken: files that end in ${types.join(", ")} can.`;
    }
    if (chosen.size > limit) {
      return `“${chosen.name}” is ${size(chosen.size)} large; at most ${size(limit)} are taken.`;
    }
    return "";
  };

  const chosen = () => {
    const [one] = file.files;
    $("#chosen").textContent = one ? `${one.name} — ${size(one.size)}` : "";
    showError(one ? refusal(one) : "");
  };

  const sending = (busy) => {
    send.disabled = busy;
    stop.hidden = !busy;
    meter.hidden = !busy;
  };

  const progress = (sent, all) => {
    const percent = all ? Math.floor((sent / all) * 100) : 0;
    $("progress", meter).value = percent;
    // What has been sent cannot be taken back.
    stop.hidden = sent >= all;
    $(".words", meter).textContent =
      sent < all ? `${size(sent)} of ${size(all)} sent (${percent} %)` : "Sent. The service stores the file …";
    if (percent % 25 === 0) announce(`${percent} percent sent`);
  };

  const fields = () => {
    const data = new FormData(form);
    const one = data.get("file");
    // Fields in front of the file reach the service before the long part; empty ones mean "not given".
    const body = new FormData();
    for (const [name, value] of data) {
      if (name !== "file" && value.trim() !== "") body.append(name, value);
    }
    body.append("file", one);
    return body;
  };

  // Sends the form once. There is no answer when that broke off or was stopped.
  const once = (body, key) =>
    new Promise((resolve) => {
      request = new XMLHttpRequest();
      const { upload } = request;
      upload.addEventListener("progress", (e) => progress(e.loaded, e.total));
      request.addEventListener("load", () => {
        const answer = new Response(request.response || null, { status: request.status });
        resolve({ answer, after: Number(request.getResponseHeader("Retry-After")) || 1 });
      });
      request.addEventListener("error", () => resolve({}));
      request.addEventListener("abort", () => resolve({ stopped: true }));
      request.open("POST", form.action);
      request.setRequestHeader("Idempotency-Key", key);
      sending(true);
      progress(0, body.get("file").size);
      request.send(body);
    });

  const codeOf = async (answer) => {
    try {
      return (await answer.clone().json()).code;
    } catch {
      return null;
    }
  };

  const deliver = async (body, key) => {
    for (let n = 0; ; n += 1) {
      const { answer, after, stopped } = await once(body, key);
      const code = answer && (await codeOf(answer));
      const isStored = code === "idempotency_key_in_flight";
      if (!isStored || n + 1 === TRIES) return { answer, code, stopped };
      await sleep(after * Math.min(2 ** n, 8) * 1000);
    }
  };

  const words = async ({ answer, code }) => {
    if (!answer) return `${UNREACHABLE} ${MAYBE}`;
    if (code === "idempotency_key_in_flight") return STILL_STORED;
    const text = await problemText(answer);
    return answer.status >= 500 ? `${text} ${MAYBE}` : text;
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = refusal(file.files[0]);
    showError(problem);
    if (problem) return file.focus();
    key ??= newKey();
    const end = await deliver(fields(), key);
    if (end.answer?.status === 202) {
      forget();
      const { job_id: id } = await end.answer.json();
      return location.assign(`/jobs/${encodeURIComponent(id)}`);
    }
    // The file was changed on the disk since the try that used the key.
    if (end.code === "idempotency_key_reused") forget();
    sending(false);
    if (end.stopped) showError(STOPPED, "warn");
    else showError(await words(end));
  });

  stop.addEventListener("click", () => request?.abort());
  form.addEventListener("input", forget);
  file.addEventListener("change", chosen);

  // Anywhere on the page, so that a file dropped beside the frame does not open in its place.
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    drop.dataset.over = "";
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) delete drop.dataset.over;
  });
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    delete drop.dataset.over;
    if (event.dataTransfer.files.length !== 1) {
      return showError("Hand in one file at a time.");
    }
    file.files = event.dataTransfer.files;
    forget();
    chosen();
  });
  // A page that comes back from the browser's memory may still show a file that was sent.
  addEventListener("pageshow", () => {
    sending(false);
    chosen();
  });
}
