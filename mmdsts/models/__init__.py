"""mmdsts.models"""
