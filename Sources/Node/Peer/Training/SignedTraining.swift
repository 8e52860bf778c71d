// What an adapter's maker signed of its training, as it lies on the shelf, and which of a snapshot's rows that was.

import ModelFiles
import Primitives
import Records
import Training

struct SignedTrainingFault: Error, CustomStringConvertible {
    let description: String
}

extension ModelShelf {
    /// Reads a small file. The signature is whoever's: `SignedEnvelope.isValid` tells.
    func trainingManifest(
        of adapter: CID
    ) throws(SignedTrainingFault) -> (manifest: TrainingManifest, envelope: SignedEnvelope) {
        let folder: MappedFolder
        do {
            folder = try self.folder(adapter)
        } catch {
            throw SignedTrainingFault(description: "\(error)")
        }
        return try withExtendedLifetime(folder) { () throws(SignedTrainingFault) in
            guard let bytes = folder.bytes(of: TrainingManifest.fileName) else {
                throw SignedTrainingFault(
                    description: "the adapter has no \(TrainingManifest.fileName): nobody said what it was made of")
            }
            do {
                let envelope = try SignedEnvelope(
                    decoding: [UInt8](bytes), payloadBytesMax: TrainingManifest.bytesMax)
                return (try TrainingManifest(decoding: envelope.payload), envelope)
            } catch {
                throw SignedTrainingFault(description: "\(TrainingManifest.fileName) is damaged: \(error)")
            }
        }
    }
}

/// Which of a snapshot's rows, counted from 0, were trained on: all, or all but every so manieth (Protocol/training.md).
struct TrainedPlaces: Sendable {
    /// 0: none is left out.
    let heldOutEvery: Int

    init(heldOutEvery: Int) { self.heldOutEvery = heldOutEvery }

    /// - Returns: nil for settings that leave nothing.
    init?(_ manifest: TrainingManifest) {
        guard let text = manifest.settings.first(where: { $0.name == "eval_nth" })?.value else {
            self.init(heldOutEvery: 0)
            return
        }
        guard let every = Int(text), every > 1 else { return nil }
        self.init(heldOutEvery: every)
    }

    func hasRow(_ number: Int) -> Bool { heldOutEvery == 0 || (number + 1) % heldOutEvery != 0 }

    /// The snapshot's number of the row that was trained on as the `place`th.
    func number(of place: Int) -> Int { heldOutEvery == 0 ? place : place + place / (heldOutEvery - 1) }
}
