//! The chart: for each kind of work, how many times its PostgreSQL each of ours does.

use std::path::Path;

use plotters::prelude::*;

use crate::error::BenchError;
use crate::report::{Measured, ratio, works, write_file};
use crate::server::Kind;

const SIZE: (u32, u32) = (960, 480);
const OURS: [(Kind, RGBColor); 2] =
    [(Kind::Conclave1, RGBColor(53, 94, 166)), (Kind::Conclave3, RGBColor(214, 122, 45))];

/// Draws `bench.svg` into the folder; nothing without a ratio.
pub(crate) fn write(results: &[Measured], folder: &Path) -> Result<(), BenchError> {
    let works = works(results);
    let top = OURS
        .iter()
        .flat_map(|&(kind, _)| works.iter().filter_map(move |w| ratio(results, w, kind)))
        .fold(0.0f64, f64::max);
    if top == 0.0 {
        return Ok(());
    }
    let mut svg = String::new();
    draw(&mut svg, results, &works, top.max(1.0) * 1.15)
        .map_err(|e| BenchError::Chart(e.to_string()))?;
    write_file(folder, "bench.svg", &svg)
}

fn draw(
    svg: &mut String,
    results: &[Measured],
    works: &[String],
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("throughput as a multiple of PostgreSQL's", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..works.len() as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(works.len() * 2 + 1)
        .x_label_formatter(&|x| {
            // Labels stand in the middle between two whole numbers.
            if (x.fract() - 0.5).abs() < 1e-6 { works[*x as usize].clone() } else { String::new() }
        })
        .y_desc("1.0 = PostgreSQL with as many copies")
        .draw()?;
    for (n, &(kind, color)) in OURS.iter().enumerate() {
        let bars = works.iter().enumerate().filter_map(|(x, work)| {
            let left = x as f64 + 0.15 + 0.35 * n as f64;
            let height = ratio(results, work, kind)?;
            Some(Rectangle::new([(left, 0.0), (left + 0.33, height)], color.filled()))
        });
        chart
            .draw_series(bars)?
            .label(kind.to_string())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], color.filled()));
    }
    let line = [(0.0, 1.0), (works.len() as f64, 1.0)];
    chart.draw_series([PathElement::new(line.to_vec(), BLACK)])?;
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
