// Filters, sorts and opens questions. All that is shown is in the page; texts are only ever set as text.
const DATA = JSON.parse(document.getElementById("data").textContent), STEP = 40;
const at = id => document.getElementById(id);
const make = (tag, given = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), given);
  node.append(...inside);
  return node;
};
let model, shown = [], count = 0;

// A state: who is right, and where the scores of each question's options start.
const prepare = state => {
  if (state.starts) return state;
  state.starts = new Int32Array(model.id.length);
  let next = 0;
  model.options.forEach((options, i) => { state.starts[i] = next; if (state.right[i] != "-") next += options; });
  return state;
};
const nothing = () => ({right: "-".repeat(model.id.length), scores: []});
// Base, unlearned, cleared and nulls of a cell, and the single nulls by name.
const statesOf = run => {
  const {none = nothing(), [DATA.primary]: cleared = nothing(), ...nulls} = run.states;
  const of = run.nulls.of, most = n => n < 0 ? "-" : n * 2 > of ? "1" : "0";
  run.most ??= {right: of ? run.nulls.right.map(most).join("") : nothing().right};
  return {base: prepare(model.base.states.none), unlearned: prepare(none), cleared: prepare(cleared), nulls: run.most,
    single: Object.entries(nulls).map(([name, state]) => [name, prepare(state)])};
};
const score = (state, i, option) => state.right[i] == "-" ? NaN : state.scores[state.starts[i] + option] / 100;
const correct = (state, i) => score(state, i, model.answer[i]);
const cells = () => [at("cell"), at("beside")].filter(choice => choice.value != "").map(choice => model.runs[choice.value]);

const SORTS = {
  lost: ([a], i) => correct(a.base, i) - correct(a.unlearned, i),
  back: ([a], i) => correct(a.cleared, i) - correct(a.unlearned, i),
  base: ([a], i) => correct(a.base, i), unlearned: ([a], i) => correct(a.unlearned, i),
  cleared: ([a], i) => correct(a.cleared, i),
  apart: ([a, b], i) => b ? Math.abs(correct(a.cleared, i) - correct(b.cleared, i)) : NaN,
};
const sorted = (found, states) => {
  const key = SORTS[at("sort").value], sign = at("reverse").checked ? -1 : 1;
  if (!key) return sign > 0 ? found : found.reverse();
  const keys = new Float64Array(model.id.length);
  for (const i of found) keys[i] = key(states, i);
  const known = found.filter(i => !isNaN(keys[i])), rest = found.filter(i => isNaN(keys[i]));
  return [...known.sort((a, b) => sign * (keys[b] - keys[a])), ...rest];
};
const filtered = states => {
  const wanted = [...document.querySelectorAll("#who select")].filter(choice => choice.value)
    .map(choice => [states[choice.dataset.cell][choice.dataset.state].right, choice.value]);
  const columns = ["topic", "part", "split"].filter(name => at(name).value != "")
    .map(name => [model[name].at, Number(at(name).value)]);
  const words = at("search").value.toLowerCase();
  model.words ??= model.id.map((id, i) => `${id}\n${model.question[i] ?? ""}\n${(model.choices[i] ?? []).join("\n")}`.toLowerCase());
  const found = [];
  for (let i = 0; i < model.id.length; i++)
    if (wanted.every(([right, value]) => right[i] == value) && columns.every(([column, value]) => column[i] == value)
      && (!words || model.words[i].includes(words))) found.push(i);
  return found;
};

const MARKS = {1: ["\u2713", "right"], 0: ["\u2717", "wrong"], "-": ["\u2013", "not asked"]};
const mark = (name, label, state, i, other) => {
  const [sign, word] = MARKS[state.right[i]];
  return make("span", {className: `${name} ${word}${other ? " other" : ""}`, title: `${label}: ${word}`},
    make("span", {ariaHidden: "true"}, `${sign} ${label}`), make("span", {className: "spoken"}, `${label} ${word}`));
};
const text = value => make("span", {className: "text", dir: "auto"}, value ?? "(text left out)");
const row = (states, i) => {
  const marks = states.flatMap((cell, k) => (k ? ["unlearned", "cleared", "nulls"] : ["base", "unlearned", "cleared", "nulls"])
    .map((name, n) => mark(name, name, cell[name], i, k && !n)));
  const named = column => model[column].names[model[column].at[i]];
  const about = [named("topic"), named("part"), model.id[i]].filter(Boolean).join(" \u00b7 ");
  const details = make("details", {className: "question"},
    make("summary", {}, make("span", {className: "marks"}, ...marks), text(model.question[i]), make("small", {}, about)));
  details.addEventListener("toggle", () => details.childElementCount > 1 || details.append(...opened(states, i)));
  return details;
};

const opened = (states, i) => {
  const runs = cells(), groups = [["", [["base", states[0].base]]]];
  states.forEach((cell, k) => groups.push([runs[k].name, [["unlearned", cell.unlearned], [`cleared: ${DATA.primary}`, cell.cleared],
    ...cell.single].filter(([, state]) => state.right[i] != "-")]));
  const head = make("tr", {}, make("th", {}, "option"));
  const names = make("tr", {}, make("th"));
  for (const [name, columns] of groups) {
    if (columns.length) names.append(make("th", {colSpan: columns.length, className: name && "group"}, name));
    head.append(...columns.map(([label]) => make("th", {scope: "col"}, label)));
  }
  const all = groups.flatMap(([, columns]) => columns.map(([, state]) => state));
  const body = make("tbody");
  for (let option = 0; option < model.options[i]; option++) {
    const name = model.choices[i]?.[option] ?? `option ${option + 1}`, is = option == model.answer[i];
    body.append(make("tr", {className: is ? "answer" : ""},
      make("th", {scope: "row"}, text(name), is ? " \u2713 correct" : ""), ...all.map(state => value(state, i, option))));
  }
  const nulls = runs.filter(run => run.nulls.of && run.nulls.right[i] >= 0)
    .map(run => `${run.name}: ${run.nulls.right[i]} of ${run.nulls.of} null directions answer right.`);
  return [make("div", {className: "scroll"}, make("table", {className: "options"}, make("thead", {}, names, head), body)),
    ...nulls.map(line => make("p", {className: "note"}, line)), ...written(i, runs)];
};
const value = (state, i, option) => {
  const scores = Array.from({length: model.options[i]}, (_, other) => score(state, i, other)), best = Math.max(...scores);
  const sum = scores.reduce((all, each) => all + Math.exp(each - best), 0);
  const cell = make("td", {className: scores[option] == best ? "value best" : "value"}, scores[option].toFixed(2));
  cell.style.setProperty("--share", `${100 * Math.exp(scores[option] - best) / sum}%`);
  return cell;
};
const written = (i, runs) => model.prompts.flatMap((about, p) => {
  if (!about.of.includes(i)) return [];
  const columns = [["base", "base", model.base.written.none?.[p]]];
  for (const run of runs) columns.push(["unlearned", run.name, run.written.none?.[p]],
    ["cleared", `cleared: ${run.name}`, run.written[DATA.primary]?.[p]]);
  return [make("section", {className: "completion"},
    make("h4", {}, "Continued: ", text(about.prompt), about.answer ? ` (correct: ${about.answer})` : ""),
    make("div", {className: "columns"}, ...columns.filter(([, , words]) => words !== undefined)
      .map(([kind, name, words]) => make("div", {className: kind}, make("h4", {}, name), text(words)))))];
});

const more = () => {
  const states = cells().map(statesOf), next = shown.slice(count, count + STEP);
  at("list").append(...next.map(i => row(states, i)));
  count += next.length;
  at("more").hidden = count >= shown.length;
};
const show = () => {
  const states = cells().map(statesOf);
  shown = states.length ? sorted(filtered(states), states) : [];
  at("count").textContent = `${shown.length.toLocaleString("en")} of ${model.id.length.toLocaleString("en")} questions`;
  for (const cell of document.querySelectorAll("#who small")) {
    const {right} = states[cell.dataset.cell][cell.dataset.state], asked = shown.filter(i => right[i] != "-");
    const share = asked.filter(i => right[i] == "1").length / asked.length;
    cell.textContent = asked.length ? `${(100 * share).toFixed(0)} % of ${asked.length}` : "not asked";
  }
  at("list").replaceChildren();
  count = 0;
  more();
};

const fill = (choice, entries, kept = 0) => {
  while (choice.options.length > kept) choice.lastElementChild.remove();
  choice.append(...entries.map(([value, label]) => make("option", {value}, label)));
};
const who = () => {
  const chosen = Object.fromEntries([...document.querySelectorAll("#who select")].map(old => [old.id, old.value]));
  at("who").tBodies[0].replaceChildren(...cells().map((run, k) => make("tr", {}, make("th", {scope: "row"}, run.name),
    ...["base", "unlearned", "cleared", "nulls"].map(state => {
      if (k && state == "base") return make("td");
      const choice = make("select", {id: `${state}-${k}`, ariaLabel: `answered by ${state}, ${run.name}`});
      fill(choice, [["", "any"], ["1", "right"], ["0", "wrong"]]);
      choice.value = chosen[choice.id] ?? "";
      const share = make("small");
      for (const node of [choice, share]) Object.assign(node.dataset, {cell: k, state});
      return make("td", {className: state}, choice, share);
    }))));
};
const load = () => {
  model = DATA.models[Number(at("model").value)];
  const runs = model.runs.map((run, k) => [k, run.name]);
  fill(at("cell"), runs);
  fill(at("beside"), runs, 1);
  for (const name of ["topic", "part", "split"]) {
    const entries = model[name].names.map((value, k) => [k, name == "topic" ? `${value} (${model.hazardous[k] ? "hazardous" : "benign"})` : value]);
    fill(at(name), entries.filter(([, value]) => value), 1);
    at(name).parentElement.hidden = entries.length < 2;
  }
  const split = model.split.names.indexOf(DATA.split);
  at("split").value = split < 0 ? "" : split;
  at("model").parentElement.hidden = DATA.models.length < 2;
  at("beside").parentElement.hidden = runs.length < 2;
  who();
  show();
};

at("controls").addEventListener("submit", event => event.preventDefault());
at("controls").addEventListener("input", ({target}) => {
  if (target.id == "model") return load();
  if (["cell", "beside"].includes(target.id)) who();
  show();
});
at("more").addEventListener("click", more);
at("list").addEventListener("keydown", event => {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key], all = [...at("list").querySelectorAll("summary")];
  const next = all[all.indexOf(event.target) + step];
  if (!next) return;
  next.focus();
  event.preventDefault();
});
fill(at("model"), DATA.models.map(({name}, k) => [k, name]));
load();
