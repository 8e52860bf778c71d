// `openledger up` as a child in a home of its own, on free ports of 127.0.0.1, as a person would start it: with the
// starter model, joined to nobody, asked nothing.
//
//   memory   resident bytes five seconds after it said that it is ready (VmRSS of /proc/PID/status, and its parts)
//   start    from just before the process is made to its ready line, and from SIGTERM to its end

import Foundation
import Primitives

enum MemoryBenchmark {
    private static let settleSeconds = 5.0

    static func run(seconds: Int) async throws -> [JSONMember] {
        guard FileManager.default.fileExists(atPath: "/proc/self/status") else {
            throw BenchmarkFault.setUp("memory is read from /proc, which this system lacks; run this on Linux")
        }
        let home = try BenchFolder.make()
        defer { BenchFolder.remove(home) }
        let child = try await ChildPeer.up(home).child
        defer { child.stop(within: ChildPeer.stopSeconds) }
        try await Task.sleep(for: .seconds(settleSeconds))
        let status = String(
            decoding: FileManager.default.contents(atPath: "/proc/\(child.processID)/status") ?? Data(), as: UTF8.self)
        var fields: [String: Int] = [:]
        for line in status.split(separator: "\n") {
            let words = line.split { $0 == ":" || $0 == " " || $0 == "\t" }
            if words.count >= 2, let number = Int(words[1]) { fields[String(words[0])] = number }
        }
        // A process that has ended has no memory to tell of.
        guard let resident = fields["VmRSS"] else {
            throw BenchmarkFault.setUp("the peer ended while it was idle: \(child.lastWords)")
        }
        func bytes(_ key: String, _ field: String) -> JSONMember {
            JSONMember(key, fields[field].map { .integer($0 * 1024) } ?? .null)
        }
        return [
            JSONMember("resident_bytes", .integer(resident * 1024)), bytes("anonymous_bytes", "RssAnon"),
            bytes("file_bytes", "RssFile"), bytes("peak_bytes", "VmHWM"),
            JSONMember("threads", fields["Threads"].map { .integer($0) } ?? .null),
            .figure("idle_seconds", settleSeconds),
        ]
    }
}

enum StartBenchmark {
    private static let startsMin = 3
    private static let startsMax = 50

    static func run(seconds: Int) async throws -> [JSONMember] {
        let home = try BenchFolder.make()
        defer { BenchFolder.remove(home) }
        let first = try await once(home)
        var starts: [Double] = []
        var stops: [Double] = []
        let watch = Stopwatch()
        while starts.count < startsMin || (watch.seconds < Double(seconds) && starts.count < startsMax) {
            let (start, stop) = try await once(home)
            starts.append(start)
            if let stop { stops.append(stop) }
        }
        return [
            .figure("first_start_ms", first.start * 1000), .figure("start_ms_median", median(starts) * 1000),
            .figure("start_ms_max", (starts.max() ?? 0) * 1000), JSONMember("starts", .integer(starts.count)),
            .figure("stop_ms_median", median(stops) * 1000),
        ]
    }

    private static func once(_ home: String) async throws -> (start: Double, stop: Double?) {
        let (child, start) = try await ChildPeer.up(home)
        return (start, child.stop(within: ChildPeer.stopSeconds))
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? .nan : sorted[sorted.count / 2]
    }
}

enum ChildPeer {
    static let readySeconds = 60.0
    static let stopSeconds = 20.0

    /// Starts this program as a peer and waits until it is ready.
    /// - Returns: the child, which the caller stops, and the seconds from its making to its ready line.
    static func up(_ home: String) async throws -> (child: BenchChild, seconds: Double) {
        guard let program = Bundle.main.executablePath else {
            throw BenchmarkFault.setUp("this program cannot find its own file; start it by its full path")
        }
        let child = try BenchChild(
            program,
            [
                "up", "--home", home, "--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--stop-with-input",
                "--json",
            ], environment: environment)
        do {
            let seconds = try await BenchWait.until("a peer on a fresh home is ready", seconds: readySeconds) {
                if child.lines.contains(where: isReady) { return child.watch.seconds }
                guard child.isRunning else {
                    throw BenchmarkFault.setUp("the peer ended before it was ready: \(child.lastWords)")
                }
                return nil
            }
            return (child, seconds)
        } catch {
            child.stop(within: stopSeconds)
            throw error
        }
    }

    /// Ours without settings that were meant for another peer.
    private static var environment: [String: String] {
        ProcessInfo.processInfo.environment.filter {
            !$0.key.hasPrefix("OPENLEDGER_") || $0.key == "OPENLEDGER_STARTER"
        }
    }

    private static func isReady(_ line: String) -> Bool {
        (try? JSONValue.parse(Array(line.utf8)))?["event"]?.text == "ready"
    }
}
