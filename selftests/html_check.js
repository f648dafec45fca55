// SPDX-License-Identifier: GPL-2.0-only
// Drives the HTML report in a frame as a person would, and leaves a line for each test in #out. Arguments in the query: page, w, dark, js.
(async function () {
"use strict";
const query = new URLSearchParams(location.search);
const width = Number(query.get("w")), script = query.get("js") !== "0";
const out = document.getElementById("out");
const lines = [];
let frame, doc, win;

class Wrong extends Error {}

function check(ok, why) {
	if (!ok)
		throw new Wrong(why);
}

async function test(name, fn) {
	try {
		await fn();
		lines.push("ok " + name);
	} catch (e) {
		lines.push("not ok " + name + "\n# " + e.message.replace(/\s+/g, " "));
	}
	out.textContent = lines.join("\n");
}

function drawn() {
	return new Promise(function (resolve) { win.requestAnimationFrame(resolve); });
}

function all(selector, within) {
	return Array.from((within || doc).querySelectorAll(selector));
}

function one(selector, within) {
	const e = (within || doc).querySelector(selector);
	check(e, "no " + selector);
	return e;
}

function tool(hint) {
	return one('.tools button[aria-label="' + hint + '"]');
}

function places() {
	return all("[data-a]").map(function (e) { return [parseFloat(e.getAttribute("x")), parseFloat(e.getAttribute("width"))]; });
}

// WCAG: relative luminance, and the contrast of two of them.
function luminance(c) {
	const v = c.slice(0, 3).map(function (x) { x /= 255; return x <= 0.03928 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4); });
	return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2];
}

function contrast(a, b) {
	const x = luminance(a), y = luminance(b);
	return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

function colour(text) {
	const m = text.match(/[\d.]+/g);
	return m ? m.map(Number) : [0, 0, 0, 0];
}

function background(e) {
	for (; e; e = e.parentElement) {
		const c = colour(win.getComputedStyle(e).backgroundColor);
		if (c.length === 3 || c[3] === 1)
			return c;
	}
	return [255, 255, 255];
}

function has_text(e) {
	return Array.from(e.childNodes).some(function (n) { return n.nodeType === 3 && n.data.trim(); });
}

async function load() {
	frame = document.createElement("iframe");
	frame.width = width;
	frame.height = 900;
	frame.style.border = "0";
	if (!script)
		frame.setAttribute("sandbox", "allow-same-origin");
	const loaded = new Promise(function (resolve) { frame.onload = resolve; });
	frame.src = query.get("page");
	document.body.append(frame);
	await loaded;
	win = frame.contentWindow;
	doc = frame.contentDocument;
	check(doc, "the frame is closed to the test");
	// Without a screen there may be no frames to wait for.
	win.requestAnimationFrame = function (fn) { return setTimeout(fn, 0); };
}

async function looks() {
	await test("nothing is wider than the screen", function () {
		const root = doc.documentElement;
		check(root.clientWidth === width, root.clientWidth + " pixels, not " + width);
		check(root.scrollWidth <= width, root.scrollWidth + " pixels");
	});
	await test("text stands out from its background", function () {
		const dark = query.get("dark") === "1", page = luminance(background(doc.body));
		check(dark ? page < 0.1 : page > 0.8, "not " + (dark ? "dark" : "light") + ": " + page);
		for (const e of all("body *")) {
			const style = win.getComputedStyle(e);
			if (!has_text(e) || e.closest("title, script, style, .unseen") || style.display === "none")
				continue;
			const ratio = contrast(colour(e instanceof win.SVGElement ? style.fill : style.color), background(e));
			const what = e.tagName + " " + e.getAttribute("class") + ": " + e.textContent.slice(0, 30);
			check(ratio >= 4.5, ratio.toFixed(2) + " for " + what);
		}
	});
	await test("names are only text", function () {
		check(doc.scripts.length === 1, doc.scripts.length + " scripts");
		const strange = "img, iframe, object, embed, link, body style, [onclick], [onerror], [onload]";
		check(!all(strange).length, "an element out of a name");
		check(doc.title === "kunion report: " + query.get("source"), doc.title);
		check(doc.body.textContent.includes("<script>document.title='x'</script>"), "the name is not there");
	});
	await test("bars are where their times are", function () {
		const span = Number(one(".chart").dataset.span), bars = all("rect[data-a]");
		check(bars.length > 20, bars.length + " bars");
		for (const e of bars) {
			const room = e.closest("svg").getBoundingClientRect(), box = e.getBoundingClientRect();
			const at = (box.left - room.left) / room.width, want = Number(e.dataset.a) / span;
			check(Math.abs(at - want) < 0.01, "at " + at + ", not " + want);
			check(box.right <= room.right + 2 && room.width > width / 3, box.right + " of " + room.right);
		}
	});
}

async function tables() {
	const table = one("#tables .many table");
	const values = function (column) {
		return Array.from(table.tBodies[0].rows, function (r) { return r.cells[column].dataset.v; });
	};
	const sorted = function (list, number, down) {
		return list.every(function (v, i) {
			const order = i && (number ? Number(list[i - 1]) - Number(v) : list[i - 1].localeCompare(v));
			return !i || (down ? order >= 0 : order <= 0);
		});
	};

	await test("tables sort", function () {
		for (const [column, number] of [[1, true], [0, false]]) {
			const th = table.tHead.rows[0].cells[column], before = values(column).length;
			for (const down of number ? [true, false] : [false, true]) {
				one("button", th).click();
				const said = th.getAttribute("aria-sort");
				check(said === (down ? "descending" : "ascending"), "aria-sort " + said);
				check(sorted(values(column), number, down), values(column).join(" "));
			}
			check(values(column).length === before && before > 3, before + " rows");
			check(all("[aria-sort]", table).length === 1, "sorted by several");
		}
	});
	await test("commands can be copied", function () {
		const todos = all("pre.todo");
		check(todos.length > 0, "none");
		for (const e of todos) {
			one("button", e).click();
			check(/^(Copied|Selected)$/.test(one("button", e).textContent), one("button", e).textContent);
			check(win.getSelection().toString().trim() === one("code", e).textContent.trim(), win.getSelection().toString());
		}
	});
}

async function timeline() {
	const chart = one(".chart"), before = places();
	const link = one('.stall a[href^="#c"]'), group = doc.getElementById(link.hash.slice(1));
	const ticks = function () { return all(".axis text").map(function (t) { return t.textContent; }).join(" "); };
	const restored = async function () {
		tool("Show all").click();
		await drawn();
		places().forEach(function (p, i) {
			check(Math.abs(p[0] - before[i][0]) < 0.001 && Math.abs(p[1] - before[i][1]) < 0.001, "bar " + i + " at " + p);
		});
	};
	const fills = function () {
		const bar = one(".head rect.copy", group).getBoundingClientRect(), room = one(".head svg", group).getBoundingClientRect();
		return bar.width / room.width;
	};

	await test("ticks have room", function () {
		const boxes = all(".axis text").map(function (t) { return t.getBoundingClientRect(); });
		check(boxes.length >= 3, boxes.length + " ticks");
		boxes.forEach(function (b, i) { check(!i || b.left > boxes[i - 1].right + 4, "tick " + i); });
	});
	await test("buttons and keys zoom", async function () {
		const first = ticks();
		tool("Zoom in").click();
		await drawn();
		check(ticks() !== first, ticks());
		const twice = places().some(function (p, i) { return Math.abs(p[1] - 2 * before[i][1]) < 0.001 && p[1] > 0; });
		check(twice, "no bar is twice as long");
		tool("Earlier").click();
		tool("Zoom out").click();
		await drawn();
		check(ticks() === first, ticks() + " after zooming out");
		chart.dispatchEvent(new win.KeyboardEvent("keydown", { key: "+", bubbles: true }));
		await drawn();
		check(ticks() !== first, "the key does nothing");
		await restored();
	});
	await test("a copy-up can be zoomed to", async function () {
		for (const e of [one("button", group), link]) {
			check(fills() < 0.6, "fills " + fills());
			e.click();
			await drawn();
			check(fills() > 0.8 && fills() < 1, "fills " + fills() + " after zooming");
			await restored();
		}
	});
	await test("dragging zooms", async function () {
		const svg = one(".head svg", group), box = one(".axis svg").getBoundingClientRect();
		const at = function (part) {
			return { clientX: box.left + box.width * part, clientY: box.top + 50, bubbles: true, cancelable: true,
				pointerType: "mouse", button: 0 };
		};
		svg.dispatchEvent(new win.PointerEvent("pointerdown", at(0.25)));
		win.dispatchEvent(new win.PointerEvent("pointermove", at(0.5)));
		check(Math.abs(one(".select").getBoundingClientRect().width - box.width / 4) < 2, "marks another width");
		win.dispatchEvent(new win.PointerEvent("pointerup", at(0.75)));
		await drawn();
		check(!all(".select").length, "the mark stays");
		const mini = one(".mini rect");
		const x = mini.getAttribute("x"), w = mini.getAttribute("width");
		check(Math.abs(x - 2500) < 20 && Math.abs(w - 5000) < 40, "shows " + w + " from " + x);
		await restored();
	});
	await test("extreme zoom", async function () {
		for (let i = 0; i < 60; i++)
			tool("Zoom in").click();
		for (let i = 0; i < 60; i++)
			tool("Later").click();
		await drawn();
		check(all(".axis text").length >= 1 && all(".axis text").length < 30, all(".axis text").length + " ticks");
		check(places().every(function (p) { return isFinite(p[0]) && p[1] >= 0; }), "a bar went wrong");
		check(one(".tools output").textContent.endsWith(", 10 us shown"), one(".tools output").textContent);
		await restored();
	});
	await test("pointing at a bar tells about it", function () {
		const bar = one(".head rect.copy", group);
		bar.dispatchEvent(new win.PointerEvent("pointermove", { clientX: 50, clientY: 50, bubbles: true }));
		const tip = one(".tip"), box = tip.getBoundingClientRect();
		check(/ by .*\[\d+\].*\n/.test(tip.textContent), tip.textContent);
		check(box.left >= 0 && box.right <= width, box.left + " to " + box.right);
		one(".axis svg").dispatchEvent(new win.PointerEvent("pointermove", { clientX: 50, clientY: 50, bubbles: true }));
		check(!all(".tip").length, "the box stays");
	});
}

await test("loads", async function () {
	await load();
	check(script === (doc.documentElement.dataset.ready === "1"), script ? "the script did not end" : "a script ran");
	check(!doc.documentElement.dataset.error, doc.documentElement.dataset.error);
});
if (doc) {
	for (const part of script ? [looks, tables, timeline] : [looks]) {
		try {
			await part();
		} catch (e) {
			await test(part.name, function () { throw e; });
		}
	}
	if (script) {
		await test("still without an error", function () {
			check(!doc.documentElement.dataset.error, doc.documentElement.dataset.error);
		});
	}
}
out.dataset.done = "1";
})();
