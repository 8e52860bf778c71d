// A run on the disk: Protocol/training.md, "A run's folder". Whatever a killed peer leaves behind here can be gone on from.

import Foundation
import ModelFiles
import Primitives
import Storage
import Training

package struct TrainingFolder: Sendable {
    package let path: String

    var orderPath: String { "\(path)/order.json" }
    var rowsPath: String { "\(path)/rows" }
    var evaluationPath: String { "\(path)/eval" }
    var eventsPath: String { "\(path)/events.jsonl" }
    var checkpointPath: String { "\(path)/checkpoint" }
    var statePath: String { "\(path)/state.json" }
    var adapterPath: String { "\(path)/adapter" }
    private var initialPath: String { "\(path)/init" }

    static let partialSuffix = ".partial"

    init(path: String) { self.path = path }

    /// Makes the folder whole or not at all.
    static func make(
        at path: String, order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?,
        initial: [(name: String, bytes: [UInt8])]
    ) throws(HomeFault) -> TrainingFolder {
        let partial = TrainingFolder(path: path + partialSuffix)
        try? FileManager.default.removeItem(atPath: partial.path)
        do throws(HomeFault) {
            try makeFolder(initial.isEmpty ? partial.path : partial.initialPath)
            try Home.writeNew(order.json.serialized(), to: partial.orderPath)
            try Home.writeNew(rows, to: partial.rowsPath)
            if let evaluation { try Home.writeNew(evaluation, to: partial.evaluationPath) }
            for file in initial { try Home.writeNew(file.bytes, to: "\(partial.initialPath)/\(file.name)") }
        } catch {
            // A full disk is not made fuller.
            try? FileManager.default.removeItem(atPath: partial.path)
            throw error
        }
        try? FileManager.default.removeItem(atPath: path)
        try Home.move(partial.path, to: path)
        return TrainingFolder(path: path)
    }

    static func makeFolder(_ path: String) throws(HomeFault) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .cannotMake(path: path, reason: error.localizedDescription)
        }
    }

    /// Of a run that is over the order, how it ended and what it said stay; the adapter is on the shelf.
    func clear() {
        for path in [
            rowsPath, evaluationPath, initialPath, checkpointPath, checkpointPath + Self.partialSuffix, adapterPath,
        ] { try? FileManager.default.removeItem(atPath: path) }
    }

    func bytes(_ path: String) -> [UInt8]? { FileManager.default.contents(atPath: path).map { [UInt8]($0) } }

    var order: TrainingOrder? {
        bytes(orderPath).flatMap { try? JSONValue.parse($0) }.flatMap { TrainingOrder($0) }
    }

    /// The adapter that the run goes on from.
    var initial: MemoryFolder? {
        var files: [(name: String, bytes: [UInt8])] = []
        for name in [PEFTFolder.configName, PEFTFolder.weightsName] {
            guard let bytes = bytes("\(initialPath)/\(name)") else { return nil }
            files.append((name, bytes))
        }
        return MemoryFolder(files)
    }

    var initialWeights: [UInt8]? { bytes("\(initialPath)/\(PEFTFolder.weightsName)") }

    // MARK: State

    /// What people decided, or how it ended.
    enum Kept {
        /// The run goes on.
        case nothing
        case state(TrainingStatus)
        /// Nobody knows whether the run was done or cancelled.
        case damaged(String)
    }

    var kept: Kept {
        guard let bytes = bytes(statePath) else {
            return access(statePath, F_OK) != 0 && errno == ENOENT
                ? .nothing : .damaged("\(statePath) cannot be read; start the run again")
        }
        guard let json = try? JSONValue.parse(bytes), let state = json["state"]?.text.flatMap(TrainingState.init),
            state != .waiting, state != .running
        else { return .damaged("\(statePath) is damaged; start the run again") }
        var status = TrainingStatus(state: state, reason: json["reason"]?.text)
        status.step = json["step"]?.integer ?? 0
        status.loss = json["loss"]?.double
        status.summary = TrainingSummary(json)
        return .state(status)
    }

    /// - Parameter status: as it was before; its state and reason are the ones that it gets.
    func keep(_ state: TrainingState, reason: String?, _ status: TrainingStatus) throws(HomeFault) {
        guard state != .running, state != .waiting else {
            unlink(statePath)
            return
        }
        let json = JSONValue.object([
            "state": .string(state.rawValue), "reason": .text(reason), "step": .integer(status.step),
            "loss": status.loss.map { .double($0) } ?? .null,
        ]).adding(status.summary.members)
        try Home.writeWhole(json.serialized(), to: statePath)
    }

    // MARK: Events

    /// What was said so far; what is no line of ours is left out.
    var said: [JSONValue] {
        (bytes(eventsPath) ?? []).split(separator: 0x0a).compactMap { try? JSONValue.parse(Array($0)) }
    }

    /// Takes back what was said of steps after `step`: they are computed, and said, again.
    func truncateEvents(after step: Int) throws(HomeFault) {
        guard let bytes = bytes(eventsPath) else { return }
        var kept: [UInt8] = []
        for line in bytes.split(separator: 0x0a) {
            guard let event = try? JSONValue.parse(Array(line)), (event["step"]?.integer ?? 0) <= step,
                event["event"]?.text != "done", event["event"]?.text != "influence"
            else { break }
            kept += line + [0x0a]
        }
        try Home.writeWhole(kept, to: eventsPath)
    }

    /// One line, whole or not at all; it is on its way to the disk when this returns, and a checkpoint does not depend on it.
    /// - Parameter put: writes bytes and answers how many, as write(2) does.
    func append(
        _ event: JSONValue, put: (Int32, [UInt8]) -> Int = { Foundation.write($0, $1, $1.count) }
    ) throws(HomeFault) {
        func fault() -> HomeFault { .cannotMake(path: eventsPath, reason: String(cString: strerror(errno))) }
        let descriptor = open(eventsPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw fault() }
        defer { close(descriptor) }
        let end = lseek(descriptor, 0, SEEK_END), line = event.serialized() + [0x0a]
        guard end >= 0 else { throw fault() }
        let written = put(descriptor, line)
        guard written == line.count else {
            // Short without a fault is a disk with a little room left.
            let fault = written < 0 ? fault() : .cannotMake(path: eventsPath, reason: "the disk is full")
            // Whoever listens reads lines.
            ftruncate(descriptor, end)
            throw fault
        }
    }
}

extension MemoryFolder {
    convenience init(_ files: [(name: String, bytes: [UInt8])]) {
        self.init(Dictionary(files.map { ($0.name, $0.bytes) }, uniquingKeysWith: { $1 }))
    }
}
