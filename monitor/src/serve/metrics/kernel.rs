//! The kernel side: sensors, ring buffers, and what each program costs.

use std::{fmt, time::Duration};

use super::{super::sources::Sources, writer::Writer};
use crate::kernel::{
    attach::SensorState,
    costs::{self, Cost},
    sensors,
};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    sensors(sources, writer)?;
    rings(sources, writer)?;
    programs(sources, writer)
}

fn sensors(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let states = sources.sensors.iter().flat_map(|status| {
        SensorState::ALL.into_iter().map(|state| {
            let labels = [
                ("sensor", sensors::name(status.sensor)),
                ("state", state.name()),
            ];
            (labels, u64::from(status.state == state))
        })
    });
    writer.gauges(
        "sensor_state",
        "1 for the state that a sensor is in.",
        states,
    )?;
    let hooks = sources.sensors.iter().map(|status| {
        let labels = [
            ("sensor", sensors::name(status.sensor).to_owned()),
            ("rung", sensors::RUNG.to_owned()),
            ("hook", sensors::hook(status.sensor)),
        ];
        (labels, 1_u64)
    });
    writer.gauges(
        "sensor_hook",
        "1 for what a sensor hooks, or would if it were active.",
        hooks,
    )
}

fn rings(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let rings = [
        ("telemetry", &sources.rings.telemetry),
        ("critical", &sources.rings.critical),
    ];
    let lane = |lane| [("lane", lane)];
    writer.gauges(
        "ring_used_bytes",
        "Bytes that wait in a ring buffer of the kernel to be read.",
        rings.map(|(name, ring)| (lane(name), ring.used())),
    )?;
    writer.gauges(
        "ring_peak_bytes",
        "The most bytes that waited in a ring buffer within the last minute or two.",
        rings.map(|(name, ring)| (lane(name), ring.peak())),
    )?;
    writer.gauges(
        "ring_size_bytes",
        "Bytes that a ring buffer has room for.",
        rings.map(|(name, ring)| (lane(name), ring.size())),
    )
}

fn programs(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let programs = &sources.programs;
    let label = |name: &'static str| [("program", name)];
    writer.gauges(
        "program_verified_instructions",
        "Instructions that the verifier went through for an eBPF program; 0 where the kernel does not tell (before 5.16).",
        programs
            .iter()
            .map(|program| (label(program.name), program.verified_instructions)),
    )?;
    // A scrape does not switch the kernel's counting on: that makes every eBPF program of the node slower.
    let are_counted = costs::are_counted();
    writer.gauge(
        "program_statistics_enabled",
        "Whether the kernel counts runs of eBPF programs (sysctl kernel.bpf_stats_enabled).",
        u64::from(are_counted),
    )?;
    if !are_counted {
        return Ok(());
    }
    let costs = costs::so_far(programs);
    writer.counters(
        "program_runs",
        "Runs of an eBPF program that the kernel counted.",
        costs.iter().map(|cost| (label(cost.name), cost.runs)),
    )?;
    let seconds = |cost: &Cost| Duration::from_nanos(cost.time_ns).as_secs_f64();
    writer.counters(
        "program_run_seconds",
        "Time that the runs of an eBPF program took which the kernel counted.",
        costs.iter().map(|cost| (label(cost.name), seconds(cost))),
    )
}
