// The page: one section for each work directory, drawn again with every message of the server.
import { curves, short, slots } from "./chart.js";

const LOSSES = [null, "excess loss", "held-out loss", "loss of the answer"];
const WORDS = { training: "training", compiling: "compiling", drawing: "drawing the report", ended: "ended", stopped: "not training", lost: "no sign of life", "nothing yet": "nothing yet" };
const sweeps = new Map();

const count = (number) => (typeof number === "number" ? number.toLocaleString("en") : "unknown");

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function make(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(cells) {
  const made = make("tr");
  for (const cell of cells) {
    const box = make("td");
    box.append(cell);
    made.append(box);
  }
  return made;
}

class Sweep {
  constructor(place) {
    this.place = place;
    this.curves = new Map();
    this.root = document.getElementById("sweep").content.firstElementChild.cloneNode(true);
    this.told = new Map();
    for (const name of ["loss", "log", "stack"]) this.part(name).addEventListener("change", () => this.drawCurves());
    this.picked = false;
    this.part("loss").addEventListener("change", () => { this.picked = true; });
    this.part("report").addEventListener("toggle", () => this.loadReport());
    document.getElementById("sweeps").append(this.root);
  }

  part(name) {
    return this.root.querySelector(`.${name}`);
  }

  take(message) {
    this.alone = message.of === 1;
    this.summary = message.summary;
    for (const [run, points] of Object.entries(message.curves)) this.curves.set(run, points);
    this.drawHead();
    this.drawWrong();
    this.drawCurves();
    this.drawStacks();
    this.drawReport();
  }

  wide() {
    return Math.max(320, this.root.clientWidth);
  }

  drawHead() {
    const now = this.summary;
    this.root.querySelector("h1").textContent = now.title;
    this.part("path").textContent = now.path;
    const known = Object.hasOwn(WORDS, now.doing);
    this.part("badge").textContent = known ? WORDS[now.doing] : now.doing;
    this.part("badge").className = known ? `badge ${now.doing.replace(" ", "-")}` : "badge";
    this.part("told").textContent = now.why ?? `stack ${now.stack}`;
    const ended = now.counts.finished + now.counts.diverged;
    this.part("whole").value = now.done ?? (now.counts.all ? ended / now.counts.all : 0);
    const numbers = [["runs ended", `${count(ended)} of ${count(now.counts.all)}`], ["under way", count(now.counts.running)]];
    numbers.push(["diverged", count(now.counts.diverged)]);
    if (typeof now.done === "number") numbers.push(["done", `${Math.round(100 * now.done)} %`]);
    if (typeof now.tokens_per_s === "number") numbers.push(["tokens per s", count(Math.round(now.tokens_per_s))]);
    const list = numbers.map(([name, value]) => {
      const box = make("div");
      box.append(make("dt", name), make("dd", value));
      return box;
    });
    this.part("numbers").replaceChildren(...list);
    this.tick();
    this.part("problems").replaceChildren(...now.problems.map((text) => make("li", text)));
    this.part("problems").hidden = !now.problems.length;
  }

  tick() {
    const now = this.summary;
    if (!now || typeof now.time !== "number") return;
    const age = Math.max(0, Date.now() / 1000 - now.time);
    const left = typeof now.eta_s === "number" ? `, about ${duration(Math.max(0, now.eta_s - age))} to go` : "";
    this.part("told").textContent = `stack ${now.stack}${left}; last sign ${duration(age)} ago`;
  }

  drawWrong() {
    const { wrong, judging } = this.summary;
    const rows = wrong.map((each) => row([each.run, each.kind, each.text]));
    this.part("wrong").tBodies[0].replaceChildren(...rows);
    this.part("wrong").hidden = !wrong.length;
    const reasons = judging.why_not.map(([why, runs]) => `${count(runs)} not: ${why}`);
    const law = judging.why_no_law ? `Not held against a law: ${judging.why_no_law}.` : `${count(judging.by_law)} runs ended after a forecast by the law.`;
    const lead = wrong.length ? "" : "None. ";
    const compared = `${count(judging.compared)} of ${count(judging.under_way)} runs under way are compared with other seeds`;
    this.part("judging").textContent = `${lead}${compared}${reasons.length ? ` (${reasons.join("; ")})` : ""}; the limit is as rare as 3 standard deviations of the scatter between seeds. ${law}`;
  }

  drawCurves() {
    const { drawn, with_curves, wrong, loss } = this.summary;
    if (!drawn) return;
    const picker = this.part("loss");
    const has = (column) => [...this.curves.values()].some((points) => points.some((point) => point[column] > 0));
    for (const option of picker.options) option.disabled = !has(Number(option.value));
    if (!this.picked) picker.value = loss === "excess_loss" ? "1" : "2";
    const column = Number(picker.value), log = this.part("log").checked;
    this.offerStacks(drawn);
    const stack = this.part("stack").value, odd = new Set(wrong.map((each) => each.run));
    const lines = Object.entries(drawn).filter(([, [of]]) => !stack || of === stack).map(([name, [, status]]) => {
      const points = (this.curves.get(name) ?? []).map((point) => [point[0], point[column]]);
      const kept = points.filter(([x, y]) => x > 0 && y !== null && (!log || y > 0));
      return { name, kind: odd.has(name) ? "odd" : status === "running" ? "running" : "ended", points: kept };
    }).filter((line) => line.points.length);
    const readout = this.part("readout");
    const pointed = (name, [x, y]) => { readout.textContent = `${name}: ${LOSSES[column]} ${short(y)} nats per token after ${count(x)} examples`; };
    this.part("chart").replaceChildren(curves(lines, log, `${LOSSES[column]}, nats per token`, this.wide(), pointed));
    const shown = Object.keys(drawn).length;
    this.part("key").title = shown < with_curves ? `${shown} of ${with_curves} curves` : "";
    if (shown < with_curves) readout.textContent = `${count(shown)} of ${count(with_curves)} curves are drawn: those that look wrong, those under way, and the newest.`;
  }

  offerStacks(drawn) {
    const picker = this.part("stack"), names = [...new Set(Object.values(drawn).map(([stack]) => stack))];
    if (picker.options.length === names.length + 1) return;
    const before = picker.value;
    picker.replaceChildren(new Option("all", ""), ...names.map((name) => new Option(name, name)));
    picker.value = names.includes(before) ? before : "";
  }

  drawStacks() {
    const rows = this.summary.stacks.map((each) => {
      const bar = make("progress");
      bar.max = each.steps;
      bar.value = each.step;
      bar.setAttribute("aria-label", `steps of ${each.name}`);
      const steps = `${count(each.step)} of ${count(each.steps)}`;
      return row([each.name, count(each.params), count(each.slots), steps, bar, count(each.running), `${count(each.ended)} of ${count(each.runs)}`]);
    });
    this.part("stacks").tBodies[0].replaceChildren(...rows);
    const plan = this.summary.slots;
    this.part("slots").hidden = !plan;
    if (!plan) return;
    const more = plan.left_out ? ` ${count(plan.left_out)} more runs are not drawn.` : "";
    this.part("slots").querySelector("p").textContent = `Slots of ${plan.stack}: one row a slot, one box a run.${more}`;
    this.part("plan").replaceChildren(slots(plan, this.wide()));
  }

  drawReport() {
    const stamp = this.summary.report, line = this.part("reporting"), details = this.part("report");
    details.hidden = !stamp;
    if (!stamp) {
      line.textContent = "None yet: the training draws one when stacks have ended.";
      return;
    }
    const link = make("a", "open it alone");
    link.href = `report/${this.place}`;
    link.target = "_blank";
    link.rel = "noopener";
    line.replaceChildren(`Drawn ${new Date(stamp).toLocaleString()}; `, link);
    if (this.stamp === undefined && this.alone) details.open = true;
    this.loadReport();
  }

  // A newer report takes the place of the one shown, but not under the hands of a reader.
  loadReport() {
    const frame = this.root.querySelector("iframe"), stamp = this.summary.report;
    if (!this.part("report").open || this.stamp === stamp) return;
    if (this.stamp !== undefined && document.activeElement === frame) {
      const again = make("button", "show the newer one");
      again.addEventListener("click", () => { again.remove(); this.setReport(frame, stamp); });
      this.part("reporting").append("; ", again);
      return;
    }
    this.setReport(frame, stamp);
  }

  setReport(frame, stamp) {
    this.stamp = stamp;
    frame.src = `report/${this.place}?drawn=${stamp}`;
  }
}

function say(text, broken) {
  const line = document.getElementById("line");
  line.textContent = text;
  line.classList.toggle("broken", broken);
}

function listen() {
  const stream = new EventSource("events");
  stream.addEventListener("open", () => say("up to date", false));
  stream.addEventListener("error", () => {
    const gone = stream.readyState === EventSource.CLOSED;
    say(gone ? "the server has ended; below is what was known then" : "no answer from the server, trying again; below is what was known then", true);
    if (gone) setTimeout(listen, 10000);
  });
  stream.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    if (!sweeps.has(message.place)) sweeps.set(message.place, new Sweep(message.place));
    document.body.classList.toggle("several", message.of > 1);
    sweeps.get(message.place).take(message);
    document.title = `${[...sweeps.values()].map((sweep) => sweep.summary.title).join(", ")}: vsweep, live`;
  });
}

addEventListener("resize", () => sweeps.forEach((sweep) => { sweep.drawCurves(); sweep.drawStacks(); }));
setInterval(() => sweeps.forEach((sweep) => sweep.tick()), 1000);
listen();
