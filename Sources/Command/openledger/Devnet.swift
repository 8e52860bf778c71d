// Peers of one genesis on loopback, each its own process and home. A child's stdin is a pipe of ours: should this
// process die, however it dies, the pipe closes and the child drains (`up --stop-with-input`).

import Foundation
import Primitives

actor Devnet {
    static let peersMax = 64
    static let readySeconds = 60.0

    struct Failure: Error {
        let message: String
    }

    nonisolated let plan: DevnetPlan
    /// Peers from this index on begin without starter model, adapters and datanets.
    private let starterCount: Int
    private var processes: [Int: (process: Process, input: Pipe)] = [:]

    init(plan: DevnetPlan, starterCount: Int) {
        self.plan = plan
        self.starterCount = starterCount
    }

    nonisolated func socket(_ index: Int) -> String { "\(plan.members[index].home)/api.sock" }
    nonisolated func log(_ index: Int) -> String { "\(plan.members[index].home)/peer.log" }

    func start() throws {
        for index in plan.members.indices { try start(index) }
    }

    func start(_ index: Int) throws {
        let member = plan.members[index]
        guard let binary = Bundle.main.executablePath else {
            throw Failure(message: "this program cannot find its own file")
        }
        guard FileManager.default.createFile(atPath: log(index), contents: nil) else {
            throw Failure(message: "\(log(index)) cannot be written")
        }
        let log = try FileHandle(forWritingTo: URL(fileURLWithPath: log(index)))
        let process = Process()
        let input = Pipe()
        process.executableURL = URL(fileURLWithPath: binary)
        var arguments = [
            "up", "--home", member.home, "--network", plan.genesisFile, "--listen", member.listen, "--http",
            member.http,
            "--stop-with-input", "--json",
        ]
        if index > 0 { arguments += ["--bootstrap", plan.members[0].address] }
        if index >= starterCount { arguments.append("--no-starter") }
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = log
        process.standardError = log
        try process.run()
        processes[index] = (process, input)
    }

    /// Waits until every peer says that it is ready.
    func waitUntilReady(connections: Int) async throws -> [JSONValue] {
        var statuses: [JSONValue] = []
        for index in plan.members.indices {
            let status = try await eventually(within: Self.readySeconds, "peer \(index) is ready") { () -> JSONValue? in
                if await !self.isRunning(index) {
                    throw Failure(message: "peer \(index) ended: \(self.lastWords(index))")
                }
                guard FileManager.default.fileExists(atPath: self.socket(index)) else { return nil }
                let status = try await Connection.withClient(self.socket(index)) { try await $0.get("status") }
                let connected = status["peers"]?["connected"]?.integer ?? 0
                return status["state"]?.text == "ready" && connected >= connections ? status : nil
            }
            statuses.append(status)
        }
        return statuses
    }

    func isRunning(_ index: Int) -> Bool { processes[index]?.process.isRunning ?? false }

    nonisolated func lastWords(_ index: Int) -> String {
        let content = (try? String(contentsOfFile: log(index), encoding: .utf8)) ?? ""
        return content.split(separator: "\n").last.map(String.init) ?? "it left no message in \(log(index))"
    }

    /// SIGKILL, as a power cut would.
    func kill(_ index: Int) {
        guard let entry = processes.removeValue(forKey: index) else { return }
        Foundation.kill(entry.process.processIdentifier, SIGKILL)
        entry.process.waitUntilExit()
    }

    /// SIGTERM to all, then their exit codes; who does not end in time is killed, and its code is SIGKILL's.
    func stop(within seconds: Double = 20) async -> [Int: Int32] {
        for entry in processes.values { entry.process.terminate() }
        let deadline = Date(timeIntervalSinceNow: seconds)
        while processes.values.contains(where: { $0.process.isRunning }), Date() < deadline {
            try? await Task.sleep(for: .milliseconds(50))
        }
        var codes: [Int: Int32] = [:]
        for (index, entry) in processes {
            if entry.process.isRunning { Foundation.kill(entry.process.processIdentifier, SIGKILL) }
            entry.process.waitUntilExit()
            codes[index] = entry.process.terminationStatus
        }
        processes = [:]
        return codes
    }
}

/// Asks until there is an answer. An unreachable peer is asked again; any other fault ends the wait.
func eventually<T: Sendable>(
    within seconds: Double, _ what: String, _ ask: @Sendable () async throws -> T?
) async throws -> T {
    let deadline = Date(timeIntervalSinceNow: seconds)
    var last = ""
    while true {
        do {
            if let value = try await ask() { return value }
        } catch let fault as CommandFault where fault.status == .unreachable || fault.status == .failed {
            last = "; \(fault.message)"
        }
        guard Date() < deadline else { throw Devnet.Failure(message: "\(what): not within \(Int(seconds)) s\(last)") }
        try await Task.sleep(for: .milliseconds(100))
    }
}
