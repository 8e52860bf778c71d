// A run between two steps, as bytes: what a run that was cut off goes on from. Protocol/training.md has the format. The key
// names the run; a checkpoint of another one, or one that is cut or changed, is refused and the run begins anew.

import Primitives

package struct TrainingCheckpoint {
    package static let magic: UInt32 = 0x3154_4c4f
    package static let keyBytes = 32
    private static let headBytes = 4 + 32 + 8 + 8

    /// - Parameter key: 32 bytes that name base, rows and settings.
    package static func bytes(of trainer: Trainer, key: [UInt8]) -> [UInt8] {
        precondition(key.count == keyBytes)
        let parameters = trainer.parameters, count = parameters.layout.count
        var bytes: [UInt8] = []
        bytes.reserveCapacity(headBytes + count * 12 + 32)
        withUnsafeBytes(of: magic.littleEndian) { bytes += $0 }
        bytes += key
        withUnsafeBytes(of: UInt64(trainer.step).littleEndian) { bytes += $0 }
        withUnsafeBytes(of: UInt64(count).littleEndian) { bytes += $0 }
        for values in [parameters.weights, parameters.first, parameters.second] {
            bytes += UnsafeRawBufferPointer(start: values, count: count * 4)
        }
        return bytes + Digest(sha256: bytes).bytes
    }

    /// - Returns: whether the bytes were this run's and the trainer is now where they say.
    package static func restore(_ bytes: [UInt8], into trainer: Trainer, key: [UInt8]) -> Bool {
        let count = trainer.parameters.layout.count, size = headBytes + count * 12
        guard bytes.count == size + 32, Digest(sha256: Array(bytes[..<size])).bytes == Array(bytes[size...]) else {
            return false
        }
        return bytes.withUnsafeBytes { buffer in
            let step = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 36, as: UInt64.self))
            guard UInt32(littleEndian: buffer.loadUnaligned(as: UInt32.self)) == magic,
                buffer[4..<36].elementsEqual(key),
                UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: 44, as: UInt64.self)) == UInt64(count),
                step <= UInt64(trainer.settings.steps)
            else { return false }
            func part(_ index: Int) -> UnsafeRawBufferPointer {
                UnsafeRawBufferPointer(
                    rebasing: buffer[headBytes + index * count * 4..<headBytes + (index + 1) * count * 4])
            }
            trainer.restore(step: Int(step), weights: part(0), first: part(1), second: part(2))
            return true
        }
    }
}
