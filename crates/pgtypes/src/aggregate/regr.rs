//! `corr`, `covar_pop`, `covar_samp` and the `regr_` family over pairs of floats.

use super::{Accumulate, Aggregates};
use crate::datum::Datum;
use crate::error::Result;
use crate::ty::PgType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Corr,
    CovarPop,
    CovarSamp,
    AvgX,
    AvgY,
    Count,
    Sxx,
    Syy,
    Sxy,
    R2,
    Slope,
    Intercept,
}

/// Sums of Youngs and Cramer over pairs `(y, x)`.
#[derive(Debug)]
struct Pairs {
    kind: Kind,
    n: f64,
    sx: f64,
    sxx: f64,
    sy: f64,
    syy: f64,
    sxy: f64,
}

impl Pairs {
    fn make(kind: Kind) -> Box<dyn Accumulate> {
        Box::new(Self { kind, n: 0.0, sx: 0.0, sxx: 0.0, sy: 0.0, syy: 0.0, sxy: 0.0 })
    }

    fn result(&self) -> Option<f64> {
        let Self { n, sx, sxx, sy, syy, sxy, .. } = *self;
        if n < 1.0 {
            return None;
        }
        match self.kind {
            Kind::Count => unreachable!("answered by finish"),
            Kind::CovarPop => Some(sxy / n),
            Kind::CovarSamp => (n >= 2.0).then(|| sxy / (n - 1.0)),
            Kind::AvgX => Some(sx / n),
            Kind::AvgY => Some(sy / n),
            Kind::Sxx => Some(sxx),
            Kind::Syy => Some(syy),
            Kind::Sxy => Some(sxy),
            Kind::Corr => (sxx != 0.0 && syy != 0.0).then(|| sxy / (sxx * syy).sqrt()),
            Kind::R2 if sxx == 0.0 => None,
            Kind::R2 if syy == 0.0 => Some(1.0),
            Kind::R2 => Some((sxy * sxy) / (sxx * syy)),
            Kind::Slope => (sxx != 0.0).then(|| sxy / sxx),
            Kind::Intercept => (sxx != 0.0).then(|| (sy - sx * sxy / sxx) / n),
        }
    }
}

impl Accumulate for Pairs {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let (Datum::Float8(y), Datum::Float8(x)) = (&args[0], &args[1]) else {
            panic!("resolution gave floats")
        };
        self.n += 1.0;
        self.sx += x;
        self.sy += y;
        if self.n > 1.0 {
            let dx = x * self.n - self.sx;
            let dy = y * self.n - self.sy;
            let scale = 1.0 / (self.n * (self.n - 1.0));
            self.sxx += dx * dx * scale;
            self.syy += dy * dy * scale;
            self.sxy += dx * dy * scale;
        }
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        [self.n, self.sx, self.sxx, self.sy, self.syy, self.sxy].map(Datum::Float8).to_vec()
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        let [
            Datum::Float8(n),
            Datum::Float8(sx),
            Datum::Float8(sxx),
            Datum::Float8(sy),
            Datum::Float8(syy),
            Datum::Float8(sxy),
        ] = *state
        else {
            return Ok(());
        };
        if n == 0.0 {
            return Ok(());
        }
        if self.n > 0.0 {
            let dx = self.sx / self.n - sx / n;
            let dy = self.sy / self.n - sy / n;
            let weight = self.n * n / (self.n + n);
            self.sxx += weight * dx * dx;
            self.syy += weight * dy * dy;
            self.sxy += weight * dx * dy;
        }
        self.n += n;
        self.sx += sx;
        self.sxx += sxx;
        self.sy += sy;
        self.syy += syy;
        self.sxy += sxy;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.kind == Kind::Count {
            return Ok(Datum::Int8(self.n as i64));
        }
        Ok(self.result().map_or(Datum::Null, Datum::Float8))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

pub(super) fn register(r: &mut Aggregates) {
    fn state(_: &[PgType], _: PgType) -> Vec<PgType> {
        vec![PgType::FLOAT8; 6]
    }
    macro_rules! add {
        ($($text:literal $kind:ident;)*) => {
            $(r.add($text, state, |_| Pairs::make(Kind::$kind));)*
        };
    }
    add! {
        "corr(float8,float8) float8" Corr;
        "covar_pop(float8,float8) float8" CovarPop;
        "covar_samp(float8,float8) float8" CovarSamp;
        "regr_avgx(float8,float8) float8" AvgX;
        "regr_avgy(float8,float8) float8" AvgY;
        "regr_count(float8,float8) int8" Count;
        "regr_sxx(float8,float8) float8" Sxx;
        "regr_syy(float8,float8) float8" Syy;
        "regr_sxy(float8,float8) float8" Sxy;
        "regr_r2(float8,float8) float8" R2;
        "regr_slope(float8,float8) float8" Slope;
        "regr_intercept(float8,float8) float8" Intercept;
    }
}
