//! The study as a picture.

use std::fmt::Write;

use super::study::Study;

/// Width and height of one of the two plots, and the room around it, in pixels.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 50.0;
const BETWEEN: f64 = 80.0;

/// Pixels from the top for a share of 1/2 to 1.
fn y(share: f64) -> f64 {
    TOP + HEIGHT * (1.0 - share) * 2.0
}

/// Boxes of the shares (quartiles, median, whiskers from 5 to 95 %), and the ties beside their formula.
pub(super) fn plot(study: &Study) -> String {
    let right = LEFT + WIDTH + BETWEEN;
    let (width, height) = (right + WIDTH + 20.0, TOP + HEIGHT + 60.0);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" text-anchor="middle">
<rect width="{width}" height="{height}" fill="#fff"/>
"##
    );
    axes(&mut svg, LEFT, "Traffic of the busier of two gateways", "overlays");
    boxes(&mut svg, study);
    axes(&mut svg, right, "Overlays of the gateway that wins ties", "cost levels");
    ties(&mut svg, study, right);
    svg + "</svg>\n"
}

fn text(svg: &mut String, x: f64, y: f64, text: impl std::fmt::Display) {
    _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}">{text}</text>"#);
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    _ = writeln!(svg, r#"<path d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}" stroke="{colour}"/>"#);
}

fn axes(svg: &mut String, left: f64, title: &str, below: &str) {
    text(svg, left + WIDTH / 2.0, TOP - 20.0, title);
    text(svg, left + WIDTH / 2.0, TOP + HEIGHT + 50.0, below);
    for percent in [50, 60, 70, 80, 90, 100] {
        let y = y(f64::from(percent) / 100.0);
        line(svg, [left, y, left + WIDTH, y], if percent == 50 { "#000" } else { "#ddd" });
        text(svg, left - 25.0, y + 4.0, format!("{percent} %"));
    }
}

fn boxes(svg: &mut String, study: &Study) {
    let step = WIDTH / study.shares.len() as f64;
    for (number, row) in study.shares.iter().enumerate() {
        let x = LEFT + step * (number as f64 + 0.5);
        let (q, half) = (&row.quantiles, step / 4.0);
        line(svg, [x, y(q.p5), x, y(q.p95)], "#000");
        let (top, height) = (y(q.p75), y(q.p25) - y(q.p75));
        _ = writeln!(
            svg,
            r##"<rect x="{:.1}" y="{top:.1}" width="{:.1}" height="{height:.1}" fill="#9bd" stroke="#000"/>"##,
            x - half,
            half * 2.0,
        );
        line(svg, [x - half, y(q.p50), x + half, y(q.p50)], "#000");
        text(svg, x, TOP + HEIGHT + 16.0, row.overlays);
        text(svg, x, TOP + HEIGHT + 32.0, format!("σ = {}", row.sigma));
    }
}

fn ties(svg: &mut String, study: &Study, left: f64) {
    let step = WIDTH / study.ties.len() as f64;
    let x = |number: usize| left + step * (number as f64 + 0.5);
    let formula = study.ties.iter().enumerate().map(|(n, row)| format!("{:.1},{:.1}", x(n), y(row.expected)));
    let points = formula.collect::<Vec<_>>().join(" ");
    _ = writeln!(svg, r##"<polyline points="{points}" fill="none" stroke="#888"/>"##);
    for (number, row) in study.ties.iter().enumerate() {
        let (x, y) = (x(number), y(row.found));
        _ = writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="#047"/>"##);
        text(svg, x, TOP + HEIGHT + 16.0, row.levels);
    }
    text(svg, left + WIDTH / 2.0, TOP + 20.0, "line: 1/2 + 1/(2s)");
}
