//! Techniques of MITRE ATT&CK (<https://attack.mitre.org>, version 17, domain Enterprise) that rules name by their ids, each with
//! the tactic that it serves here.

use super::file::Attack;

/// Ids with their names.
type Techniques = &'static [(&'static str, &'static str)];

/// Tactics with their techniques.
const TACTICS: &[(&str, &str, Techniques)] = &[
    (
        "TA0001",
        "Initial Access",
        &[
            ("T1190", "Exploit Public-Facing Application"),
            ("T1133", "External Remote Services"),
        ],
    ),
    (
        "TA0002",
        "Execution",
        &[
            ("T1059", "Command and Scripting Interpreter"),
            ("T1059.004", "Unix Shell"),
            ("T1059.006", "Python"),
            ("T1609", "Container Administration Command"),
            ("T1610", "Deploy Container"),
            ("T1072", "Software Deployment Tools"),
            ("T1129", "Shared Modules"),
            ("T1204.003", "Malicious Image"),
            ("T1053.003", "Cron"),
            ("T1569", "System Services"),
        ],
    ),
    (
        "TA0003",
        "Persistence",
        &[
            ("T1098.004", "SSH Authorized Keys"),
            ("T1037", "Boot or Logon Initialization Scripts"),
            ("T1037.004", "RC Scripts"),
            ("T1136.001", "Local Account"),
            ("T1543", "Create or Modify System Process"),
            ("T1543.002", "Systemd Service"),
            ("T1543.005", "Container Service"),
            ("T1546.004", "Unix Shell Configuration Modification"),
            ("T1547.006", "Kernel Modules and Extensions"),
            ("T1554", "Compromise Host Software Binary"),
            ("T1574", "Hijack Execution Flow"),
            ("T1574.006", "Dynamic Linker Hijacking"),
            ("T1525", "Implant Internal Image"),
        ],
    ),
    (
        "TA0004",
        "Privilege Escalation",
        &[
            ("T1611", "Escape to Host"),
            ("T1068", "Exploitation for Privilege Escalation"),
            ("T1548", "Abuse Elevation Control Mechanism"),
            ("T1548.001", "Setuid and Setgid"),
            ("T1548.003", "Sudo and Sudo Caching"),
            ("T1055", "Process Injection"),
            ("T1055.008", "Ptrace System Calls"),
            ("T1055.009", "Proc Memory"),
        ],
    ),
    (
        "TA0005",
        "Defense Evasion",
        &[
            ("T1014", "Rootkit"),
            ("T1027", "Obfuscated Files or Information"),
            ("T1027.002", "Software Packing"),
            ("T1036", "Masquerading"),
            ("T1036.004", "Masquerade Task or Service"),
            ("T1036.005", "Match Legitimate Resource Name or Location"),
            ("T1036.011", "Overwrite Process Arguments"),
            ("T1070", "Indicator Removal"),
            ("T1070.002", "Clear Linux or Mac System Logs"),
            ("T1070.003", "Clear Command History"),
            ("T1070.004", "File Deletion"),
            ("T1140", "Deobfuscate/Decode Files or Information"),
            (
                "T1222.002",
                "Linux and Mac File and Directory Permissions Modification",
            ),
            ("T1562", "Impair Defenses"),
            ("T1562.001", "Disable or Modify Tools"),
            ("T1562.006", "Indicator Blocking"),
            ("T1564.001", "Hidden Files and Directories"),
            ("T1612", "Build Image on Host"),
            ("T1620", "Reflective Code Loading"),
            ("T1622", "Debugger Evasion"),
        ],
    ),
    (
        "TA0006",
        "Credential Access",
        &[
            ("T1003", "OS Credential Dumping"),
            ("T1003.007", "Proc Filesystem"),
            ("T1003.008", "/etc/passwd and /etc/shadow"),
            ("T1110", "Brute Force"),
            ("T1528", "Steal Application Access Token"),
            ("T1552", "Unsecured Credentials"),
            ("T1552.001", "Credentials In Files"),
            ("T1552.003", "Shell History"),
            ("T1552.004", "Private Keys"),
            ("T1552.005", "Cloud Instance Metadata API"),
            ("T1552.007", "Container API"),
            ("T1555", "Credentials from Password Stores"),
            ("T1557", "Adversary-in-the-Middle"),
            ("T1040", "Network Sniffing"),
        ],
    ),
    (
        "TA0007",
        "Discovery",
        &[
            ("T1016", "System Network Configuration Discovery"),
            ("T1018", "Remote System Discovery"),
            ("T1046", "Network Service Discovery"),
            ("T1057", "Process Discovery"),
            ("T1082", "System Information Discovery"),
            ("T1083", "File and Directory Discovery"),
            ("T1613", "Container and Resource Discovery"),
        ],
    ),
    (
        "TA0008",
        "Lateral Movement",
        &[
            ("T1021", "Remote Services"),
            ("T1021.004", "SSH"),
            ("T1570", "Lateral Tool Transfer"),
        ],
    ),
    (
        "TA0009",
        "Collection",
        &[
            ("T1005", "Data from Local System"),
            ("T1119", "Automated Collection"),
        ],
    ),
    (
        "TA0011",
        "Command and Control",
        &[
            ("T1071", "Application Layer Protocol"),
            ("T1071.001", "Web Protocols"),
            ("T1071.004", "DNS"),
            ("T1090", "Proxy"),
            ("T1090.003", "Multi-hop Proxy"),
            ("T1095", "Non-Application Layer Protocol"),
            ("T1102", "Web Service"),
            ("T1105", "Ingress Tool Transfer"),
            ("T1571", "Non-Standard Port"),
            ("T1572", "Protocol Tunneling"),
        ],
    ),
    (
        "TA0010",
        "Exfiltration",
        &[
            ("T1048", "Exfiltration Over Alternative Protocol"),
            ("T1041", "Exfiltration Over C2 Channel"),
            ("T1567", "Exfiltration Over Web Service"),
        ],
    ),
    (
        "TA0040",
        "Impact",
        &[
            ("T1485", "Data Destruction"),
            ("T1486", "Data Encrypted for Impact"),
            ("T1489", "Service Stop"),
            ("T1496", "Resource Hijacking"),
            ("T1496.001", "Compute Hijacking"),
            ("T1496.002", "Bandwidth Hijacking"),
            ("T1498", "Network Denial of Service"),
            ("T1499", "Endpoint Denial of Service"),
            ("T1529", "System Shutdown/Reboot"),
            ("T1565", "Data Manipulation"),
        ],
    ),
];

/// A technique by its id; `TA0005/T1574` names one with another tactic that it serves.
#[must_use]
pub fn technique(id: &str) -> Option<Attack> {
    let (tactic, technique) = match id.split_once('/') {
        Some((tactic, technique)) => (Some(tactic), technique),
        None => (None, id),
    };
    let (usual, name) = TACTICS.iter().find_map(|(tactic, _, techniques)| {
        let (_, name) = techniques.iter().find(|(id, _)| *id == technique)?;
        Some((*tactic, *name))
    })?;
    let wanted = tactic.unwrap_or(usual);
    let (tactic_id, tactic, _) = TACTICS.iter().find(|(id, ..)| *id == wanted)?;
    Some(Attack {
        tactic_id: (*tactic_id).to_owned(),
        tactic: (*tactic).to_owned(),
        technique_id: technique.to_owned(),
        technique: name.to_owned(),
    })
}

/// Ids of all of them.
pub fn ids() -> impl Iterator<Item = &'static str> {
    TACTICS
        .iter()
        .flat_map(|(_, _, techniques)| techniques.iter().map(|(id, _)| *id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_found_with_their_tactic() {
        let found = technique("T1611").expect("known");
        assert_eq!(found.tactic, "Privilege Escalation");
        let found = technique("TA0005/T1574").expect("known");
        assert_eq!(
            (found.tactic.as_str(), found.technique.as_str()),
            ("Defense Evasion", "Hijack Execution Flow")
        );
        assert!(technique("T9999").is_none() && technique("TA9999/T1611").is_none());
    }
}
