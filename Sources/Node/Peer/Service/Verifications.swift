// POST adapters/{a}/verify: what its maker signed, computed again here.

import Dispatch
import Foundation
import Gateway
import Ledger
import ModelFiles
import NodeCore
import Primitives
import Records
import Training

extension PeerService {
    func verify(
        _ wanted: VerificationDescription
    ) async throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error> {
        let adapter = try await asset(.adapter, wanted.adapter)
        guard let shelved = adapter.shelved, let base = shelved.folder.base, peer.shelf.entry(base) != nil else {
            throw NodeFault(
                .conflict, "the adapter \(adapter.name) and its base must be held here; pull them first",
                code: "not_held")
        }
        let manifest: TrainingManifest
        do throws(SignedTrainingFault) {
            manifest = try peer.shelf.trainingManifest(of: adapter.cid).manifest
        } catch {
            throw NodeFault(.conflict, "\(adapter.name): \(error)", code: "not_signed")
        }
        let trained =
            if let path = wanted.rows { try Self.file(path, "rows") } else { try rows(of: manifest) }
        let initial = try Self.initial(wanted.initial)
        let verification = AdapterVerification(
            shelf: peer.shelf, base: base, adapter: adapter.cid, network: peer.genesis.network, rows: trained,
            file: wanted.rows ?? "the snapshot's rows", initial: initial, trainsAgain: wanted.trainsAgain,
            threads: peer.settings.threads, room: peer.inference.room)
        let token = JobToken(), inference = peer.inference
        return lines { emit async throws(NodeFault) in
            try self.beginCheck()
            defer { self.endCheck() }
            let result: Result<JSONValue, NodeFault> = await withTaskCancellationHandler {
                await Task.detached {
                    do {
                        let ending = try verification.run {
                            emit($0)
                        } while: {
                            // Answers come first, but not for ever.
                            var turns = 500
                            while inference.load.running > 0, turns > 0, !token.isCancelled {
                                Thread.sleep(forTimeInterval: 0.002)
                                turns -= 1
                            }
                            return !token.isCancelled
                        }
                        return .success(ending)
                    } catch {
                        return .failure(NodeFault(.invalid, "\(error)", code: "verification_failed"))
                    }
                }.value
            } onCancel: {
                token.cancel()
            }
            return try result.get()
        }
    }

    /// Those of the snapshot that were trained on, as an export writes them.
    private func rows(of manifest: TrainingManifest) throws(NodeFault) -> [UInt8] {
        guard let snapshot = manifest.datanet else {
            throw NodeFault(
                .conflict, "the adapter was made of rows of no datanet; give them with rows", param: "rows",
                code: "missing")
        }
        guard let places = TrainedPlaces(manifest) else {
            throw NodeFault(.conflict, "the adapter's manifest leaves out every row", code: "not_signed")
        }
        let shards: [CID]
        do throws(LibraryFault) {
            shards = try peer.inference.library.held(nil, at: snapshot).shards
        } catch {
            throw NodeFault(.conflict, "the rows that it was made of are not here: \(error)", code: "not_held")
        }
        var lines: [UInt8] = [], number = 0
        for cid in shards {
            for row in try exported(cid) {
                defer { number += 1 }
                guard places.hasRow(number) else { continue }
                lines += row.serialized() + [0x0a]
                guard lines.count <= TrainingDeskLimit.rowBytesMax else {
                    throw NodeFault(
                        .invalid, "the snapshot has more than \(TrainingDeskLimit.rowBytesMax) bytes of rows",
                        code: "too_long")
                }
            }
        }
        return lines
    }
}
