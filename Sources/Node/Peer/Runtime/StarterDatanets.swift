// The datanets of a fresh home, from the starter folder.

import Datanets
import Foundation
import Logging
import NodeCore
import Primitives

enum StarterDatanets {
    static let licence = "WordNet-3.0"

    static func create(_ name: String, _ path: String, on peer: RunningPeer) async {
        guard let data = FileManager.default.contents(atPath: path) else { return }
        let file = RowFile(jsonl: Array(data), name: "\(name).jsonl")
        guard file.faultCount == 0, !file.rows.isEmpty else {
            peer.logger.error(
                "the starter datanet \(name) has faults: \(file.faults.first.map { "\($0)" } ?? "no rows")")
            return
        }
        let made = await peer.handle.perform(
            .datanet(
                .create(
                    name: name, summary: "Definitions from WordNet 3.0: \(name)", tags: ["wordnet", "english"],
                    licence: licence, policy: .open, nonce: Home.randomBytes(DatanetLimits.nonceBytes))))
        guard case .datanet(let id) = made else { return }
        let answer = await peer.handle.perform(.datanet(.contribute(file.rows.map(\.row), to: id, licence: licence)))
        if case .failed(let failure) = answer { peer.logger.error("the starter datanet \(name): \(failure)") }
    }
}
