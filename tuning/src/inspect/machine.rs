//! What kind of machine: who made it, whether it is virtual, and whether this is a container.

use crate::fact::Fact;
use crate::facts::Machine;
use crate::root::Root;

/// Looks at it.
pub fn look(root: &Root) -> Machine {
    Machine {
        vendor: root
            .text("sys/class/dmi/id/sys_vendor")
            .or_else(|| root.text("sys/firmware/devicetree/base/compatible")),
        product: root.text("sys/class/dmi/id/product_name").or_else(|| root.text("sys/firmware/devicetree/base/model")),
        is_virtual: is_virtual(root),
        hypervisor: root.text("sys/hypervisor/type"),
        container: container(root),
    }
}

/// Processors of x86 have a flag that hypervisors set. Others say nothing.
fn is_virtual(root: &Root) -> Fact<bool> {
    let info = super::processor::cpuinfo(root);
    info.then(|text| match text.lines().find(|line| line.starts_with("flags")) {
        Some(flags) => Fact::Known(flags.split_whitespace().any(|flag| flag == "hypervisor")),
        None => Fact::unknown("proc/cpuinfo has no flags that would tell"),
    })
}

/// The marks that container engines leave.
fn container(root: &Root) -> Fact<String> {
    if root.has(".dockerenv") {
        return Fact::Known("docker".to_owned());
    }
    if root.has("run/.containerenv") {
        return Fact::Known("podman".to_owned());
    }
    if let Fact::Known(kind) = root.text("run/systemd/container") {
        return Fact::Known(kind);
    }
    // Where the first process is in no group of its own there is no engine around it.
    match root.text("proc/1/cgroup") {
        Fact::Known(text) if text.lines().any(names_engine) => Fact::Known("by its group of processes".to_owned()),
        Fact::Known(_) => Fact::Known("none".to_owned()),
        Fact::Unknown { unknown } => Fact::Unknown { unknown },
    }
}

fn names_engine(line: &str) -> bool {
    ["docker", "kubepods", "containerd", "libpod", "lxc"].iter().any(|engine| line.contains(engine))
}
