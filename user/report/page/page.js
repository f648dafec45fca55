// SPDX-License-Identifier: GPL-2.0-only
// The page is complete without this: it sorts tables, copies commands, and zooms the timeline.
(function () {
"use strict";
const root = document.documentElement;

// For the tests: what went wrong stands in the document.
function wrong(text) {
	root.dataset.error = (root.dataset.error ? root.dataset.error + "; " : "") + text;
}
addEventListener("error", function (e) { wrong(e.message); });
document.addEventListener("securitypolicyviolation", function (e) { wrong("blocked: " + e.violatedDirective + " " + e.blockedURI); });
root.classList.add("js");

function make(tag, cls, text) {
	const e = document.createElement(tag);
	if (cls)
		e.className = cls;
	if (text)
		e.textContent = text;
	return e;
}

function button(text, hint, fn) {
	const b = make("button", "", text);
	b.type = "button";
	if (hint) {
		b.title = hint;
		b.setAttribute("aria-label", hint);
	}
	b.addEventListener("click", fn);
	return b;
}

// Tables
function value(row, column, number) {
	const cell = row.cells[column];
	const v = cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
	return number ? Number(v) : v;
}

function sortBy(table, th, column) {
	const number = th.classList.contains("num");
	const before = th.getAttribute("aria-sort");
	const down = before ? before === "ascending" : number;
	const body = table.tBodies[0];
	const rows = Array.from(body.rows);

	rows.sort(function (x, y) {
		const a = value(x, column, number), b = value(y, column, number);
		return (number ? a - b : a.localeCompare(b)) * (down ? -1 : 1);
	});
	for (const other of table.tHead.rows[0].cells)
		other.removeAttribute("aria-sort");
	th.setAttribute("aria-sort", down ? "descending" : "ascending");
	body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
	Array.from(table.tHead.rows[0].cells).forEach(function (th, column) {
		const b = button(th.textContent, "", function () { sortBy(table, th, column); });
		th.replaceChildren(b);
	});
}

// Commands
for (const pre of document.querySelectorAll("pre.todo")) {
	const code = pre.querySelector("code");
	const b = button("Copy", "", function () {
		const range = document.createRange();
		range.selectNodeContents(code);
		getSelection().removeAllRanges();
		getSelection().addRange(range);
		// Pages from files have no clipboard in every browser: it is at least selected then.
		b.textContent = document.execCommand("copy") ? "Copied" : "Selected";
		setTimeout(function () { b.textContent = "Copy"; }, 1500);
	});
	pre.append(b);
}

// Timeline
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
	const e = document.createElementNS(SVG, tag);
	for (const name in attributes)
		e.setAttribute(name, attributes[name]);
	return e;
}

function time(us) {
	const n = function (v, unit) {
		let text = v.toFixed(v < 9.995 ? 2 : v < 99.95 ? 1 : 0);
		if (text.includes("."))
			text = text.replace(/\.?0+$/, "");
		return text + " " + unit;
	};
	if (us === 0)
		return "0";
	if (us < 1000)
		return n(us, "us");
	if (us < 999500)
		return n(us / 1e3, "ms");
	if (us < 1e8)
		return n(us / 1e6, "s");
	const s = Math.floor(us / 1e6);
	const two = function (v) { return String(v).padStart(2, "0"); };
	return s < 3600 ? Math.floor(s / 60) + "m" + two(s % 60) + "s" : Math.floor(s / 3600) + "h" + two(Math.floor(s % 3600 / 60)) + "m";
}

// A tick among others that are close tells more than three digits.
function tick(us, step) {
	const units = [[1e6, "s"], [1e3, "ms"], [1, "us"]];
	const [per, unit] = units.find(function (u) { return us >= u[0]; }) || units[2];
	const digits = Math.max(0, Math.ceil(Math.log10(per / step) - 1e-9));

	if (us === 0 || us >= 1e8 && step >= 1e6)
		return time(us);
	return (us / per).toFixed(Math.min(digits, 6)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + " " + unit;
}

function timeline(chart) {
	const plot = chart.querySelector(".plot"), grid = chart.querySelector(".grid"), axis = chart.querySelector(".axis > svg");
	const span = Number(chart.dataset.span);
	const least = Math.min(span, 10);
	const bars = Array.from(chart.querySelectorAll("[data-a]"), function (e) {
		return { e: e, a: Number(e.dataset.a), b: Number(e.dataset.b) };
	});
	const view = { a: 0, b: span };
	const range = make("output", "");
	let mini = null, frame = null;

	function ticks() {
		const width = axis.getBoundingClientRect().width || 600;
		const most = Math.max(2, Math.min(10, Math.floor(width / 75)));
		const shown = view.b - view.a;
		let step = 1;

		while (shown / step > most) {
			if (shown / (step * 2) <= most) {
				step *= 2;
				break;
			}
			if (shown / (step * 5) <= most) {
				step *= 5;
				break;
			}
			step *= 10;
		}
		axis.replaceChildren();
		grid.replaceChildren();
		for (let at = Math.ceil(view.a / step) * step; at <= view.b; at += step) {
			const part = (at - view.a) / shown * 100, x = part + "%";
			const t = svg("text", { x: x, y: 14 });
			t.textContent = tick(at, step);
			if (part > 96)
				t.setAttribute("class", "end");
			axis.append(t);
			grid.append(svg("line", { x1: x, x2: x, y1: 0, y2: "100%" }));
		}
	}

	function draw() {
		const shown = view.b - view.a;

		frame = null;
		for (const r of bars) {
			const a = Math.max((r.a - view.a) / shown * 100, -5), b = Math.min((r.b - view.a) / shown * 100, 105);
			const out = r.b < view.a || r.a > view.b;
			r.e.style.display = out ? "none" : "";
			if (out)
				continue;
			r.e.setAttribute("x", a + "%");
			r.e.setAttribute("width", Math.max(b - a, 0) + "%");
		}
		ticks();
		mini.setAttribute("x", view.a / span * 10000);
		mini.setAttribute("width", Math.max(shown / span * 10000, 1));
		mini.style.display = shown < span ? "" : "none";
		range.textContent = shown < span ?
			time(Math.round(view.a)) + " to " + time(Math.round(view.b)) + ", " + time(Math.round(shown)) + " shown" :
			"all of " + time(span) + (matchMedia("(pointer: fine)").matches ? "; drag over bars to zoom in" : "");
	}

	function show(a, b) {
		const width = Math.min(Math.max(b - a, least), span);
		const from = Math.min(Math.max((a + b - width) / 2, 0), span - width);
		view.a = from;
		view.b = from + width;
		if (frame === null)
			frame = requestAnimationFrame(draw);
	}

	function zoom(by, at) {
		const middle = at === undefined ? (view.a + view.b) / 2 : at;
		show(middle - (middle - view.a) / by, middle + (view.b - middle) / by);
	}

	function move(by) {
		const d = Math.min(Math.max((view.b - view.a) * by, -view.a), span - view.b);
		show(view.a + d, view.b + d);
	}

	function all() {
		show(0, span);
	}

	// To a copy-up and those who waited for it, with some room around.
	function group(g) {
		const inside = bars.filter(function (r) { return g.contains(r.e); });
		const a = Math.min(...inside.map(function (r) { return r.a; })), b = Math.max(...inside.map(function (r) { return r.b; }));
		show(a - (b - a) * 0.05, b + (b - a) * 0.05);
	}

	// Time at a horizontal place of the screen, within an element that shows from a to b.
	function at(e, box, a, b) {
		return a + Math.min(Math.max((e.clientX - box.left) / box.width, 0), 1) * (b - a);
	}

	function dragging(area, whole) {
		area.addEventListener("pointerdown", function (e) {
			const target = e.target.closest(".row > svg");
			if (e.pointerType === "touch" || e.button !== 0 || !target || target === axis)
				return;
			const box = axis.getBoundingClientRect(), a = whole ? 0 : view.a, b = whole ? span : view.b;
			const from = at(e, box, a, b), start = e.clientX, outer = plot.getBoundingClientRect();
			const mark = make("div", "select");
			e.preventDefault();
			chart.focus({ preventScroll: true });
			const moved = function (m) {
				const x = Math.min(Math.max(m.clientX, box.left), box.right);
				mark.style.left = Math.min(start, x) - outer.left + "px";
				mark.style.width = Math.abs(x - start) + "px";
				if (!mark.parentNode)
					plot.append(mark);
			};
			const done = function (m) {
				removeEventListener("pointermove", moved);
				removeEventListener("pointerup", done);
				removeEventListener("pointercancel", done);
				mark.remove();
				const to = at(m, box, a, b);
				if (m.type === "pointerup" && Math.abs(m.clientX - start) > 4)
					show(Math.min(from, to), Math.max(from, to));
				else if (m.type === "pointerup" && whole)
					show(to - (view.b - view.a) / 2, to + (view.b - view.a) / 2);
			};
			addEventListener("pointermove", moved);
			addEventListener("pointerup", done);
			addEventListener("pointercancel", done);
		});
	}

	function overview() {
		const row = make("div", "row mini"), label = make("div", "label", "whole run");
		const s = svg("svg", { width: "100%", height: 22, viewBox: "0 0 10000 22", preserveAspectRatio: "none" });
		s.setAttribute("aria-hidden", "true");
		const d = { copy: "", wait: "" };
		for (const r of bars) {
			const kind = r.e.classList.contains("wait") ? "wait" : r.e.classList.contains("copy") ? "copy" : "";
			if (kind)
				d[kind] += "M" + (r.a / span * 10000).toFixed(1) + " " + (kind === "copy" ? 6 : 16) + "h" +
					Math.max((r.b - r.a) / span * 10000, 8).toFixed(1);
		}
		for (const kind in d)
			if (d[kind])
				s.append(svg("path", { "class": kind, d: d[kind] }));
		mini = svg("rect", { y: 0.5, height: 21 });
		s.append(mini);
		row.append(label, s);
		chart.querySelector(".axis").before(row);
		dragging(row, true);
	}

	function tools() {
		const bar = make("div", "tools");
		bar.append(button("\u2212", "Zoom out", function () { zoom(0.5); }), button("+", "Zoom in", function () { zoom(2); }),
			button("\u2190", "Earlier", function () { move(-0.5); }), button("\u2192", "Later", function () { move(0.5); }),
			button("All", "Show all", all), range);
		chart.before(bar);
		chart.addEventListener("keydown", function (e) {
			const keys = { "+": function () { zoom(2); }, "-": function () { zoom(0.5); }, "0": all,
				ArrowLeft: function () { move(-0.25); }, ArrowRight: function () { move(0.25); } };
			if (e.target !== chart || e.ctrlKey || e.altKey || e.metaKey || !keys[e.key])
				return;
			e.preventDefault();
			keys[e.key]();
		});
		chart.addEventListener("wheel", function (e) {
			if (!e.ctrlKey && !e.shiftKey)
				return;
			e.preventDefault();
			zoom((e.deltaY || e.deltaX) < 0 ? 1.3 : 1 / 1.3, at(e, axis.getBoundingClientRect(), view.a, view.b));
		}, { passive: false });
		for (const g of chart.querySelectorAll(".group[id]")) {
			g.querySelector(".head .path").append(button("zoom", "Zoom to this copy-up", function () { group(g); }));
		}
		document.addEventListener("click", function (e) {
			const link = e.target.closest ? e.target.closest('a[href^="#c"]') : null;
			const g = link && document.getElementById(link.getAttribute("href").slice(1));
			if (g)
				group(g);
		});
	}

	// One box that follows the pointer, at once; the titles it replaces come late, and not on touch screens.
	function tips() {
		const tip = make("div", "tip"), texts = new Map();
		for (const r of bars) {
			const title = r.e.querySelector("title");
			if (title) {
				texts.set(r.e, title.textContent);
				title.remove();
			} else if (r.e.previousElementSibling) {
				texts.set(r.e, texts.get(r.e.previousElementSibling));
			}
		}
		const follow = function (e) {
			const text = texts.get(e.target);
			if (!text) {
				tip.remove();
				return;
			}
			tip.textContent = text;
			document.body.append(tip);
			const box = tip.getBoundingClientRect();
			const below = e.clientY + 16 + box.height < innerHeight;
			tip.style.left = Math.max(4, Math.min(e.clientX + 12, innerWidth - box.width - 8)) + "px";
			tip.style.top = (below ? e.clientY + 16 : Math.max(4, e.clientY - box.height - 10)) + "px";
		};
		chart.addEventListener("pointermove", follow);
		chart.addEventListener("pointerdown", follow);
		chart.addEventListener("pointerleave", function () { tip.remove(); });
		addEventListener("scroll", function () { tip.remove(); }, { passive: true });
	}

	overview();
	tools();
	tips();
	dragging(plot, false);
	draw();
	addEventListener("resize", ticks);
}

const chart = document.querySelector(".chart");
if (chart)
	timeline(chart);

// For the tests: nothing may be wider than the screen.
if (root.scrollWidth > root.clientWidth)
	wrong("the page is " + root.scrollWidth + " pixels wide on a screen of " + root.clientWidth);
root.dataset.ready = "1";
})();
