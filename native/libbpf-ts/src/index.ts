export { Btf, type BtfKind, type BtfMember, type BtfOf, type BtfType } from './btf.ts';
export { type Codec, type CodecValue, codec, decodeValue, encodeValue } from './codec.ts';
export { DecodedMap, type DecodeOptions, openMapById, openPinnedMap } from './decoded_map.ts';
export type {
  MapDefinition,
  MapDefinitions,
  MapOf,
  ProgramDefinition,
  ProgramDefinitions,
  RodataDefinitions,
  RodataOf,
} from './definition.ts';
export type { CodecsByType } from './dynamic_codec.ts';
export { BpfError, errnoName, type MapMismatch, VerifierLog } from './errors.ts';
export { type Features, features, type Support } from './features.ts';
export { libbpfVersion, MINIMUM_LIBBPF, possibleCpuCount } from './ffi.ts';
export type { LinkInfo, MapInfo, Named, ProgramInfo } from './info.ts';
export { attachedPrograms, listLinks, listMaps, listPrograms } from './inspect.ts';
export { KernelObject, onBpffs } from './kernel_object.ts';
export { attachSockmapProgram, detachSockmapProgram, Link } from './link.ts';
export { LoadedObject } from './loaded_object.ts';
export { BpfMap, KernelMap, type MapCodecs, pinnedMapInfo, TypedMap, type UpdateFlag } from './map.ts';
export {
  defineObject,
  type ObjectDefinition,
  type OpenFileOptions,
  OpenObject,
  openObject,
  type UntypedObject,
} from './object.ts';
export type { OpenOptions } from './object_file.ts';
export { OpenMap } from './open_map.ts';
export { OpenProgram } from './open_program.ts';
export { PerCpuMap, sumOf } from './percpu_map.ts';
export { Program } from './program.ts';
export { RingBuffer, RingBufferMap, type RingBufferStats } from './ring_buffer.ts';
export { SkStorageMap, SockMap } from './socket_map.ts';
export type { AttachType, LinkType, MapType, ProgramType } from './uapi.ts';
