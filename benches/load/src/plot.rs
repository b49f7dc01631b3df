//! The picture: percentile curves side by side, as SVG.
//!
//! The horizontal axis spreads the tail: 90 %, 99 %, 99.9 % and 99.99 % stand equally far apart.

use crate::latency::Curve;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (960, 540);
/// The last percentile drawn, 99.99, as the axis counts: nines.
const NINES_MAX: f64 = 4.0;
/// A logarithm needs something above zero: 10 ns.
const US_MIN: f64 = 0.01;
/// Percentiles with a line and a label.
const TICKS: [f64; 8] = [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];
/// Colours that people who confuse red and green tell apart, too.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
const INK: RGBColor = RGBColor(70, 70, 70);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// Draws `curves` and returns the SVG's text.
///
/// # Errors
/// Says what the drawing library refuses.
pub(crate) fn draw(title: &str, curves: &[Curve]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&area, title, curves).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = Box<dyn std::error::Error>;

fn paint(area: &Area<'_>, title: &str, curves: &[Curve]) -> Result<(), Failure> {
    area.fill(&WHITE)?;
    let (low, high) = decades(curves);
    let text = ("sans-serif", 17).with_color(INK).into_text_style(area);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 21).with_color(INK))
        .margin(16)
        .margin_right(36)
        .x_label_area_size(52)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..NINES_MAX, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .light_line_style(GRID.mix(0.4))
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_label_formatter(&|us| show_us(*us))
        .label_style(text.clone())
        .x_desc("percentile")
        .y_desc("latency")
        .draw()?;
    for percent in TICKS {
        let at = nines(percent / 100.0);
        chart.draw_series(std::iter::once(PathElement::new([(at, low), (at, high)], GRID)))?;
        let (x, y) = chart.backend_coord(&(at, low));
        let below = text.pos(Pos::new(HPos::Center, VPos::Top));
        area.draw_text(&format!("{percent} %"), &below, (x, y + 6))?;
    }
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(on_axis(curve), colour.stroke_width(2)))?
            .label(&curve.label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(14)
        .legend_area_size(28)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text)
        .draw()?;
    Ok(())
}

/// Where a share of latencies (0 to 1) stands on the axis: 0 for none, 1 for 90 %, 2 for 99 % and on.
fn nines(share: f64) -> f64 {
    if share >= 1.0 { f64::INFINITY } else { -(1.0 - share).log10() }
}

/// The curve on the axis: up to 99.99 %, where the next known percentile closes it.
fn on_axis(curve: &Curve) -> Vec<(f64, f64)> {
    let points = curve.points.iter().map(|&(share, us)| (nines(share), us.max(US_MIN)));
    let mut points: Vec<_> = points.take_while(|&(at, _)| at <= NINES_MAX).collect();
    if let Some(&(_, beyond)) = curve.points.get(points.len()) {
        points.push((NINES_MAX, beyond.max(US_MIN)));
    }
    points
}

/// Whole powers of ten around everything that is drawn.
fn decades(curves: &[Curve]) -> (f64, f64) {
    let values = || curves.iter().flat_map(on_axis).map(|point| point.1);
    let most = values().fold(US_MIN, f64::max);
    let least = values().fold(most, f64::min);
    let (low, high) = (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()));
    (low, if high > low { high } else { low * 10.0 })
}

fn show_us(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 0.999 => (us * 1e3, "ns"),
        us if us < 999.0 => (us, "\u{b5}s"),
        us if us < 999_000.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        for (percent, at) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0), (99.99, 4.0)] {
            assert!((nines(percent / 100.0) - at).abs() < 1e-9, "{percent}");
        }
        assert!(nines(1.0).is_infinite());
    }

    fn curve(label: &str, points: &[(f64, f64)]) -> Curve {
        Curve { label: label.into(), points: points.to_vec() }
    }

    #[test]
    fn a_curve_reaches_the_edge_of_the_picture_and_no_further() {
        let known = [(0.0, 1.0), (0.9, 5.0), (0.999_999, 80.0), (1.0, 90.0)];
        let drawn = on_axis(&curve("a", &known));
        let expected = [(0.0, 1.0), (1.0, 5.0), (NINES_MAX, 80.0)];
        assert_eq!(drawn.len(), expected.len());
        for (found, wanted) in drawn.iter().zip(expected) {
            assert!((found.0 - wanted.0).abs() < 1e-9, "{drawn:?}");
            assert!((found.1 - wanted.1).abs() < 1e-9, "{drawn:?}");
        }
    }

    #[test]
    fn the_scale_holds_every_curve_in_whole_decades() {
        let wide = [curve("a", &[(0.0, 20.0), (1.0, 50.0)]), curve("b", &[(0.0, 0.0), (1.0, 1e6)])];
        let (low, high) = decades(&wide);
        assert!((low - 0.01).abs() < 1e-9 && (high - 1e6).abs() < 1.0, "{low} {high}");
        let (low, high) = decades(&[curve("flat", &[(0.0, 10.0), (1.0, 10.0)])]);
        assert!(low < high, "{low} {high}");
    }

    #[test]
    fn the_picture_names_its_curves_and_its_percentiles() {
        let ours = curve("Ringmesh", &[(0.0, 9.0), (1.0, 40.0)]);
        let peer = curve("peer", &[(0.0, 30.0), (1.0, 400.0)]);
        let svg = draw("1,000 messages/s", &[ours, peer]).unwrap();
        for part in ["<svg", "</svg>", "Ringmesh", "peer", "99.99 %", "90 %", "1,000 messages/s"] {
            assert!(svg.contains(part), "{part} is missing");
        }
        assert!(svg.contains(&show_us(100.0)), "the decade between is missing");
    }

    #[test]
    fn latencies_are_shown_in_the_unit_that_reads_best() {
        let shown = [0.1, 1.0, 100.0, 1e3, 1e6, 1e7].map(show_us);
        let expected = ["100 ns", "1 \u{b5}s", "100 \u{b5}s", "1 ms", "1 s", "10 s"];
        assert_eq!(shown, expected);
    }
}
