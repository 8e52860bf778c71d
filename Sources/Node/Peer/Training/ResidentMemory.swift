// What the process holds in memory, as the kernel counts it: how a run's memory is measured against what was foretold.

import Foundation

enum ResidentMemory {
    /// Nil where the system does not say.
    static var bytes: Int? {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),
            let pages = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}

/// The most that was held since it began, beside what was held then. Others' work in the same process counts too.
struct MemoryWatch {
    private let begin = ResidentMemory.bytes
    private(set) var growth: Int?

    mutating func look() {
        guard let begin, let now = ResidentMemory.bytes else { return }
        growth = max(growth ?? 0, now - begin)
    }
}
