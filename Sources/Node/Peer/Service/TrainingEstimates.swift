// What a training would take, before anybody starts it: every fault that a start would meet, by the field it is about, and
// what memory, time and price are foretold.

import Arithmetic
import Datanets
import Gateway
import ModelFiles
import NodeCore
import Primitives
import Records
import Storage
import Training

/// The rows of a training as JSON lines.
struct WantedRows: Sendable {
    var trained: [UInt8]
    var heldOut: [UInt8]?
    /// Of the datanet that they are.
    var snapshot: CID?
    private(set) var splitFault: NodeFault?

    init(trained: [UInt8], heldOut: [UInt8]?, snapshot: CID?) {
        self.trained = trained
        self.heldOut = heldOut
        self.snapshot = snapshot
    }

    static func isRow(_ line: some Collection<UInt8>) -> Bool {
        line.contains { $0 != 0x20 && $0 != 0x0d && $0 != 0x09 }
    }

    /// Every so manieth row is held out. Of rows with faults none is: faults name the lines that people know.
    /// - Parameter file: the file that they came from; nil for a datanet's.
    mutating func split(every: Int, file: String?) {
        if file != nil, !RowWriter.holdsTokens(trained) {
            let read = RowFile(jsonl: trained, name: file.map(TrainingNames.fileName) ?? "")
            guard read.faultCount == 0 else {
                splitFault = NodeFault(
                    .unverified, "\(read.faultCount) faults; first: \(read.faults.first.map(\.description) ?? "")",
                    param: "rows", code: "rows_with_faults", rows: read.faults.map(PeerService.fault))
                return
            }
        }
        let places = TrainedPlaces(heldOutEvery: every)
        var kept: [UInt8] = [], held: [UInt8] = [], number = 0
        kept.reserveCapacity(trained.count)
        for line in trained.split(separator: 0x0a) where Self.isRow(line) {
            if places.hasRow(number) { kept += line + [0x0a] } else { held += line + [0x0a] }
            number += 1
        }
        guard !held.isEmpty else {
            splitFault = NodeFault(
                .invalid, "eval_nth is \(every), and there are only \(number) rows: none would be held out",
                param: "eval_nth", code: "out_of_range")
            return
        }
        (trained, heldOut) = (kept, held)
    }
}

enum TrainingNames {
    static func fileName(_ path: String) -> String { String(path.split(separator: "/").last ?? "rows") }
}

extension PeerService {
    func estimate(_ wanted: TrainingDescription) async throws(NodeFault) -> JSONValue {
        var faults: [TrainingEstimate.Fault] = []
        func take(_ fault: NodeFault, _ param: String?) {
            let known = TrainingEstimate.Fault(
                param: fault.param ?? param, code: fault.code ?? "invalid_value", message: fault.message)
            if !faults.contains(where: { $0.message == known.message }) { faults.append(known) }
        }
        var base: KnownAsset?, rows: WantedRows?, order: TrainingOrder?
        var initial: [(name: String, bytes: [UInt8])] = []
        do throws(NodeFault) { try checkName(wanted.name) } catch { take(error, "name") }
        do throws(NodeFault) { base = try await trainedModel(wanted.model) } catch { take(error, "model") }
        do throws(NodeFault) { initial = try Self.initial(wanted.initial) } catch { take(error, "init") }
        do throws(NodeFault) {
            rows = try await trainingRows(wanted)
        } catch {
            take(error, wanted.datanet == nil ? "rows" : "datanet")
        }
        if let fault = rows?.splitFault, fault.rows.isEmpty { take(fault, "eval_nth") }
        if let base, let rows {
            do throws(NodeFault) { order = try Self.order(wanted, base, rows) } catch { take(error, nil) }
        }
        var estimate = TrainingEstimate()
        if let order, let rows {
            let question = TrainingQuestion(
                order: order, rows: rows.trained, file: wanted.rows.map(TrainingNames.fileName) ?? "rows",
                heldOut: rows.heldOut, initial: initial)
            guard let made = await peer.trainings.estimator.estimate(question) else {
                throw NodeFault(
                    .unavailable, "\(TrainingDeskLimit.estimatesMax) estimates are waited for already; ask again",
                    code: "full", retryAfterSeconds: 1)
            }
            estimate = made
            if try await isTaken(wanted.name, base: order.model) {
                estimate.warnings.append(
                    .init(
                        param: "name", code: "name_taken",
                        message:
                            "\(order.modelName) has an adapter \(wanted.name) already; with another name both can be asked for"
                    ))
            }
        }
        estimate.faults = faults + estimate.faults
        return Self.json(estimate, wanted, order, left: peer.inference.room.left)
    }

    private func isTaken(_ name: String, base: CID) async throws(NodeFault) -> Bool {
        try await assets(.adapter).contains { $0.name == name && ($0.bases.isEmpty || $0.bases.contains(base)) }
            || peer.inference.book.fusion(name)?.base == base
    }

    private static func json(
        _ estimate: TrainingEstimate, _ wanted: TrainingDescription, _ order: TrainingOrder?, left: Int
    ) -> JSONValue {
        func number(_ value: Int?) -> JSONValue { value.map { .integer($0) } ?? .null }
        func list(_ faults: [TrainingEstimate.Fault]) -> JSONValue {
            .array(
                faults.map {
                    .object(["param": .text($0.param), "code": .string($0.code), "message": .string($0.message)])
                })
        }
        return .object([
            "valid": .bool(estimate.faults.isEmpty), "faults": list(estimate.faults),
            "warnings": list(estimate.warnings),
            "row_faults": .array(
                estimate.rowFaults.map {
                    let fault = PeerService.fault($0)
                    return .object([
                        "file": .string(fault.file), "line": .integer(fault.line), "field": .text(fault.field),
                        "reason": .string(fault.reason), "message": .string(fault.message),
                    ])
                }), "row_faults_total": .integer(estimate.rowFaultCount),
            "name": .string(wanted.name), "model": .string(order?.modelName ?? wanted.model),
            "precision": .text(order?.precision.rawValue), "datanet": .text(wanted.datanet),
            "rows": number(estimate.rowCount), "eval_rows": number(estimate.heldOutCount),
            "row_tokens": number(estimate.tokenCount), "rows_cut": number(estimate.cutCount),
            "steps": number(order?.settings.steps), "parameters": number(estimate.parameters),
            "memory_bytes": number(estimate.memoryBytes), "memory_left_bytes": left == .max ? .null : .integer(left),
            "seconds": estimate.seconds.map { .double(($0 * 10).rounded() / 10) } ?? .null,
            "measured": .bool(estimate.isMeasured),
            // What access to the data asks; a peer's own computing costs it nothing.
            "price": .string("0"),
        ])
    }

    // MARK: Publishing

    /// Tells the network of an adapter that was this peer's own. Doing it again tells it again.
    func publish(adapter name: String) async throws(NodeFault) -> JSONValue {
        let known = try await asset(.adapter, name)
        guard let shelved = known.shelved else {
            throw NodeFault(
                .conflict,
                "the adapter \(known.name) is not held here; pull it first: openledger adapter pull \(known.name)",
                code: "not_held")
        }
        let cid = known.cid
        try await onShelf { shelf throws(ShelfFault) in try shelf.publish(cid) }
        await peer.announce(cid, shelved.folder)
        await peer.register(cid, .adapter)
        await peer.advertise()
        return try await adapter(cid.text)
    }
}
